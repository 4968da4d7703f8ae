"""A seeded map of simulated countryside: river, woods, fields in parcels, towns, bare ground.

Lengths are in metres, so that the same seed gives the same kind of country at any pixel size. The
map is drawn from the back to the front: parcels first, then woods and bare patches over them,
water, towns, and roads last.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from rasters._fields import FloatArray, matern_field

CLASSES = ("water", "forest", "crop", "grassland", "bare soil", "built-up")
WATER, FOREST, CROP, GRASSLAND, BARE, BUILT = range(len(CLASSES))

BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Landscape:
    """What lies where.

    Args:
        cover_HW: Index into `CLASSES`.
        parcel_HW: Number of the parcel a pixel belongs to, 0 to parcel count - 1.
        elevation_HW: Metres above the scene's mean.
        street_HW: Where a street or road runs.
        gravel_HW: Bare ground that is gravel, not soil (pits and river banks).
    """

    cover_HW: NDArray[np.uint8]
    parcel_HW: IntArray
    elevation_HW: FloatArray
    street_HW: BoolArray
    gravel_HW: BoolArray


def draw_landscape(rng: np.random.Generator, size: int, gsd: float) -> Landscape:
    """Draw a landscape of `size` x `size` pixels of `gsd` metres."""
    y, x = (np.mgrid[:size, :size].astype(np.float32) + np.float32(0.5)) * np.float32(gsd)
    extent = size * gsd
    relief = matern_field(rng, size, 500 / gsd, 2.0)
    # Fences, roads and banks follow the ground: nothing man-made is ruler-straight over a
    # kilometre.
    x = x + 45 * matern_field(rng, size, 300 / gsd, 2.0)
    y = y + 45 * matern_field(rng, size, 300 / gsd, 2.0)

    parcel, cover = _draw_parcels(rng, x, y, extent)
    wooded = matern_field(rng, size, 160 / gsd, 0.9) + 0.7 * relief
    forest = wooded > np.quantile(wooded, 1 - rng.uniform(0.18, 0.32))
    cover[forest] = FOREST
    pits = matern_field(rng, size, 60 / gsd, 1.5)
    gravel = (pits > np.quantile(pits, 0.992)) & ~forest
    water, bank = _draw_water(rng, x, y, extent, gsd, relief)
    gravel |= bank & (matern_field(rng, size, 120 / gsd, 1.0) > 0.4)
    cover[gravel] = BARE
    town, street, road = _draw_towns(rng, x, y, extent, gsd, water | forest)
    cover[town] = BUILT
    cover[water] = WATER
    cover[road] = BUILT  # over water it is a bridge
    return Landscape(
        cover_HW=cover,
        parcel_HW=parcel,
        elevation_HW=25 * relief,
        street_HW=(street & town & ~water) | road,
        gravel_HW=gravel & (cover == BARE),
    )


def _draw_parcels(
    rng: np.random.Generator, x: FloatArray, y: FloatArray, extent: float
) -> tuple[IntArray, NDArray[np.uint8]]:
    """Rows of long fields, turned and sized alike within a district; each parcel has one use."""
    count = max(4, round((extent / 1100) ** 2))
    margin = 0.15 * extent
    centers = rng.uniform(-margin, extent + margin, (count, 2))
    _, district = cKDTree(centers).query(np.stack([x.ravel(), y.ravel()], 1))
    district = district.reshape(x.shape)
    angle = rng.uniform(0, np.pi, count)
    length = rng.uniform(200, 450, count)[district]
    width = rng.uniform(70, 190, count)[district]
    cos, sin = np.cos(angle)[district], np.sin(angle)[district]
    reach = 2 * extent  # keeps row and column numbers positive
    row = ((y * cos - x * sin + reach) / width).astype(np.int64)
    shift = rng.random((count, int(row.max()) + 1))[district, row]
    column = ((x * cos + y * sin + reach) / length + shift).astype(np.int64)
    key = (district * (row.max() + 1) + row) * (column.max() + 1) + column
    _, first, parcel = np.unique(key, return_index=True, return_inverse=True)
    parcel = parcel.reshape(x.shape)

    # Some districts are arable, some pasture: shares of crop, grassland, bare soil and copse
    # differ.
    share = rng.dirichlet((3.2, 2.0, 1.2, 0.3), count).cumsum(1)
    draw = rng.random(len(first))[:, None]
    use = (draw > share[district.ravel()[first], :3]).sum(1)
    uses = np.array([CROP, GRASSLAND, BARE, FOREST], np.uint8)
    return parcel, uses[use][parcel]


def _draw_water(
    rng: np.random.Generator,
    x: FloatArray,
    y: FloatArray,
    extent: float,
    gsd: float,
    relief: FloatArray,
) -> tuple[BoolArray, BoolArray]:
    """A winding river across the scene, sometimes a lake; and the strip along the river."""
    angle = rng.uniform(0, 2 * np.pi)
    along = np.cos(angle) * (x - extent / 2) + np.sin(angle) * (y - extent / 2)
    across = np.cos(angle) * (y - extent / 2) - np.sin(angle) * (x - extent / 2)
    center = np.full_like(along, rng.uniform(-0.25, 0.25) * extent)
    slope = np.zeros_like(along)
    for wavelength in (2600.0, 1150.0, 520.0):
        phase = rng.uniform(0, 2 * np.pi)
        amplitude = 0.09 * wavelength * rng.uniform(0.5, 1)
        turn = 2 * np.pi * along / wavelength + phase
        center += amplitude * np.sin(turn)
        slope += amplitude * 2 * np.pi / wavelength * np.cos(turn)
    distance = np.abs(across - center) / np.sqrt(1 + slope**2)
    half_width = rng.uniform(22, 45) * (1 + 0.2 * matern_field(rng, len(x), 300 / gsd, 2.0))
    hollow = relief + 0.3 * matern_field(rng, len(x), 90 / gsd, 1.5)
    level = np.quantile(hollow, rng.choice([0.0, rng.uniform(0.015, 0.05)], p=[0.4, 0.6]))
    lake = hollow < level
    return (distance < half_width) | lake, (distance < half_width + 20) & ~lake


def _draw_towns(
    rng: np.random.Generator,
    x: FloatArray,
    y: FloatArray,
    extent: float,
    gsd: float,
    unbuilt: BoolArray,
) -> tuple[BoolArray, BoolArray, BoolArray]:
    """Towns on open ground, their street grids, and the roads between them."""
    size = len(x)
    count = 1 + rng.poisson((extent / 3200) ** 2)
    open_ground = np.argwhere(~unbuilt)
    centers = np.empty((count, 2))
    density = np.zeros_like(x)
    street = np.zeros(x.shape, bool)
    for town in range(count):
        row, column = open_ground[rng.integers(len(open_ground))]
        centers[town] = x[row, column], y[row, column]
        east, north = x - centers[town, 0], y - centers[town, 1]
        radius = min(rng.lognormal(np.log(380), 0.3), extent / 5)
        here = np.exp(-(east**2 + north**2) / radius**2)
        angle, block = rng.uniform(0, np.pi / 2), rng.uniform(80, 130, 2)
        u = east * np.cos(angle) + north * np.sin(angle)
        v = north * np.cos(angle) - east * np.sin(angle)
        grid = (np.mod(u, block[0]) < 11) | (np.mod(v, block[1]) < 11)
        street = np.where(here > density, grid, street)
        density = np.maximum(density, here)
    ragged = density + 0.16 * matern_field(rng, size, 120 / gsd, 0.8)
    park = matern_field(rng, size, 90 / gsd, 1.5) > 1.9
    town_mask = (ragged > 0.5) & ~unbuilt & ~park

    # The first town has a through road; every other is joined to the nearest of those before it.
    heading = rng.uniform(0, 2 * np.pi)
    away = 2 * extent * np.array([np.cos(heading), np.sin(heading)])
    bend = rng.uniform(-0.5, 0.5, (2, 2)) * extent
    segments = [
        (centers[0], centers[0] + away + bend[0]),
        (centers[0], centers[0] - away + bend[1]),
    ]
    for town in range(1, count):
        nearest = np.linalg.norm(centers[:town] - centers[town], axis=1).argmin()
        segments.append((centers[town], centers[nearest]))
    road = np.zeros(x.shape, bool)
    for start, end in segments:
        road |= _distance_to_segment(x, y, start, end) < rng.uniform(7, 12)
    return town_mask, street, road


def _distance_to_segment(
    x: FloatArray, y: FloatArray, start: NDArray[np.float64], end: NDArray[np.float64]
) -> FloatArray:
    step = end - start
    share = ((x - start[0]) * step[0] + (y - start[1]) * step[1]) / (step @ step)
    share = np.clip(share, 0, 1)
    distance: FloatArray = np.hypot(x - start[0] - share * step[0], y - start[1] - share * step[1])
    return distance
