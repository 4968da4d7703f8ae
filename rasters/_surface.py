"""From a map of land cover to the materials a pixel holds, each with its own natural variation.

A pixel is a linear mixture: reflectance = sum over materials of fraction * (mean + z1 mode1 + z2
mode2). The surface therefore is one stack of coefficients per material (fraction, fraction * z1,
fraction * z2), and every optical sensor is a matrix applied to the same stack: co-registration and
consistency between sensors hold by construction. Fractions that sum to less than one leave the rest
to shade, which reflects nothing.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rasters._fields import FloatArray, matern_field
from rasters._landscape import BARE, BUILT, CROP, FOREST, GRASSLAND, WATER, Landscape
from rasters._spectra import MODES, material_names

SUN_ZENITH = np.radians(40.0)
SUN_AZIMUTH = np.radians(150.0)  # clockwise from north

# Shares of a built-up pixel before its own variation: a street pixel, and one between streets.
_STREET = {"asphalt": 0.75, "concrete": 0.12, "grass_canopy": 0.05, "tree_canopy": 0.03}
_BLOCK = {
    "roof_tile": 0.22,
    "roof_shingle": 0.18,
    "roof_metal": 0.05,
    "asphalt": 0.12,
    "concrete": 0.11,
    "grass_canopy": 0.12,
    "tree_canopy": 0.07,
    "soil": 0.04,
}


@dataclass(frozen=True)
class Surface:
    """The ground as optical and radar sensors meet it.

    Args:
        coefficients_KHW: Material coefficients, K = 3 x materials of the table, in the table's
            order.
        green_HW: Fraction of the pixel under green vegetation.
    """

    coefficients_KHW: FloatArray
    green_HW: FloatArray


def cover_with_materials(rng: np.random.Generator, landscape: Landscape, gsd: float) -> Surface:
    """Fill a landscape with materials."""
    size = len(landscape.cover_HW)
    names = material_names()
    fractions_MHW = np.zeros((len(names), size, size), np.float32)
    fraction = dict(zip(names, fractions_MHW, strict=True))  # views: filling one fills the stack

    parcels = int(landscape.parcel_HW.max()) + 1
    texture = matern_field(rng, size, 40 / gsd, 0.5)
    _grow_fields(rng, landscape, fraction, texture)
    _grow_forest(rng, landscape, fraction, texture, gsd)
    _build_towns(rng, landscape, fraction)
    fraction["water"][landscape.cover_HW == WATER] = 1

    # Fields differ from each other more than within; roofs differ from one pixel to the next.
    own = rng.standard_normal((2, parcels))[:, landscape.parcel_HW].astype(np.float32)
    fine = rng.standard_normal((2, size, size), dtype=np.float32)
    broad = np.stack([matern_field(rng, size, 150 / gsd, 1.0) for _ in range(2)])
    built = landscape.cover_HW == BUILT
    wild = (landscape.cover_HW == FOREST) | (landscape.cover_HW == WATER)
    z = np.where(built, 0.6 * fine, np.where(wild, 0.8 * broad, 0.8 * own) + 0.3 * fine)
    season = rng.normal(0, 0.4, (2, len(names), 1, 1)).astype(np.float32)  # this place, this year

    coefficients = np.empty((len(names), MODES, size, size), np.float32)
    lit = fractions_MHW * _illumination(landscape, gsd)
    coefficients[:, 0] = lit
    for mode in range(2):
        coefficients[:, mode + 1] = lit * np.clip(z[mode] + season[mode], -1.8, 2.5)
    green = fraction["tree_canopy"] + fraction["crop_canopy"] + fraction["grass_canopy"]
    return Surface(coefficients.reshape(-1, size, size), green)


def _grow_fields(
    rng: np.random.Generator,
    landscape: Landscape,
    fraction: dict[str, FloatArray],
    texture: FloatArray,
) -> None:
    """Crops at three stages, grassland more or less dry, bare soil with residue and weeds."""
    parcel, cover = landscape.parcel_HW, landscape.cover_HW
    count = int(parcel.max()) + 1

    def per_parcel(values: NDArray[np.float64]) -> FloatArray:
        spread: FloatArray = values.astype(np.float32)[parcel]
        return spread

    stage = rng.choice(3, count, p=[0.55, 0.22, 0.23])  # closed canopy, young, ripening
    green_by_stage = np.stack(
        [
            0.55 + 0.43 * rng.beta(3, 1.5, count),
            rng.uniform(0.1, 0.5, count),
            rng.uniform(0.05, 0.35, count),
        ]
    )
    dry_by_stage = np.stack(
        [rng.uniform(0, 0.08, count), rng.uniform(0, 0.1, count), rng.uniform(0.35, 0.6, count)]
    )
    each = np.arange(count)
    # Soil in the field is moist and rough: darker than the dried, sieved samples of the library.
    dark = per_parcel(rng.uniform(0.38, 0.75, count))

    crop = cover == CROP
    green = np.clip(per_parcel(green_by_stage[stage, each]) + 0.05 * texture, 0, 0.98)
    dry = np.minimum(per_parcel(dry_by_stage[stage, each]), 1 - green)
    fraction["crop_canopy"][crop] = green[crop]
    fraction["dry_vegetation"][crop] = dry[crop]
    fraction["soil"][crop] = ((1 - green - dry) * dark)[crop]

    meadow = cover == GRASSLAND
    green = np.clip(per_parcel(rng.uniform(0.4, 0.95, count)) + 0.1 * texture, 0.1, 0.98)
    fraction["grass_canopy"][meadow] = green[meadow]
    fraction["dry_vegetation"][meadow] = ((1 - green) * 0.65)[meadow]
    fraction["soil"][meadow] = ((1 - green) * 0.35 * dark)[meadow]

    bare = cover == BARE
    green = np.clip(per_parcel(rng.beta(1, 6, count) * 0.6) + 0.02 * texture, 0, 0.4)
    dry = per_parcel(rng.beta(1.2, 4, count) * 0.6)
    ground = np.maximum(1 - green - dry, 0) * dark
    fraction["crop_canopy"][bare] = green[bare]
    fraction["dry_vegetation"][bare] = dry[bare]
    fraction["soil"][bare] = np.where(landscape.gravel_HW, 0, ground)[bare]
    fraction["gravel"][bare] = np.where(landscape.gravel_HW, ground, 0)[bare]


def _grow_forest(
    rng: np.random.Generator,
    landscape: Landscape,
    fraction: dict[str, FloatArray],
    texture: FloatArray,
    gsd: float,
) -> None:
    """Crowns and their shadows: stands vary from dark (needleleaf) to bright and open."""
    forest = landscape.cover_HW == FOREST
    stand = matern_field(rng, len(texture), 220 / gsd, 0.8)
    crowns = np.clip(0.56 + 0.1 * stand + 0.07 * texture, 0.25, 0.9)
    undergrowth = np.clip(0.06 - 0.05 * texture, 0, 0.2)
    fraction["tree_canopy"][forest] = crowns[forest]
    fraction["grass_canopy"][forest] = (undergrowth * 0.6)[forest]
    fraction["dry_vegetation"][forest] = (undergrowth * 0.4)[forest]


def _build_towns(
    rng: np.random.Generator, landscape: Landscape, fraction: dict[str, FloatArray]
) -> None:
    """Streets, and blocks of roofs, yards and gardens in shares that change from pixel to pixel."""
    built = landscape.cover_HW == BUILT
    blocks = int(landscape.parcel_HW.max()) + 1
    for where, shares, spread in (
        (built & landscape.street_HW, _STREET, 0.5),
        (built & ~landscape.street_HW, _BLOCK, 0.8),
    ):
        draws = rng.lognormal(0, spread, (len(shares), int(where.sum())))
        draws *= rng.lognormal(0, 0.4, (len(shares), blocks))[:, landscape.parcel_HW[where]]
        weights = draws * np.array(list(shares.values()))[:, None]
        weights *= (1 - rng.uniform(0.03, 0.15, weights.shape[1])) / weights.sum(
            0
        )  # the rest is shade
        for name, weight in zip(shares, weights, strict=True):
            fraction[name][where] = weight


def _illumination(landscape: Landscape, gsd: float) -> FloatArray:
    """Direct sun on the slope, relative to flat ground: cos(incidence) / cos(sun zenith)."""
    south, east = np.gradient(landscape.elevation_HW, gsd)
    toward_sun = np.cos(SUN_AZIMUTH) * south - np.sin(SUN_AZIMUTH) * east
    light: FloatArray = 1 + np.tan(SUN_ZENITH) * toward_sun
    light[landscape.cover_HW == WATER] = 1
    return np.clip(light, 0.6, 1.4).astype(np.float32)
