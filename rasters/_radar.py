"""Simulated C-band backscatter: what each land cover returns, and the speckle over it.

Class means (sigma0 in dB, VV and VH) are rounded to 0.5 dB from averages measured over Sentinel-1
patches of BigEarthNet v2 (Clasen et al. 2024, CDLA-Permissive-1.0) that one land cover dominates,
and over the water of Sen1Floods11 (Bonafilia et al. 2020): marine and flood water -14 to -20 and
-25 to -29, coniferous and mixed forest -9.4 to -10.6 and -14.8 to -15.4, arable land in leaf -9 to
-12 and -16 to -21, bare arable land about -13.5 and -22 to -24, villages among fields -6 and -11.5.
Grassland is set between crop and bare soil.
"""

import numpy as np
from scipy.ndimage import gaussian_filter

from rasters._fields import FloatArray, matern_field
from rasters._landscape import BARE, BUILT, CROP, FOREST, GRASSLAND, WATER, Landscape
from rasters._surface import Surface

# Equivalent number of looks of a Sentinel-1 IW GRD High Resolution product: Sentinel-1 Product
# Definition, S1-RS-MDA-52-7440, issue 2.7 (2016), section D.
LOOKS = 4.4
# An IW GRD pixel of 10 m resolves 20 x 22 m (same document): standard deviation in metres of the
# blur.
_BLUR = 9.0

# VV and VH in dB, deviation between parcels or stands, deviation from pixel to pixel.
_RETURNS = {
    WATER: (-18.5, -26.0, 0.0, 0.3),
    FOREST: (-9.5, -15.0, 0.6, 0.5),
    CROP: (-9.5, -16.0, 1.3, 0.3),
    GRASSLAND: (-11.5, -18.5, 0.9, 0.4),
    BARE: (-13.0, -22.0, 1.4, 0.4),
    BUILT: (-6.5, -12.5, 0.6, 2.5),
}


def observe_radar(
    rng: np.random.Generator, landscape: Landscape, surface: Surface, gsd: float
) -> FloatArray:
    """VV and VH sigma0 in dB, (2, H, W), with speckle."""
    cover, size = landscape.cover_HW, len(landscape.cover_HW)
    table = np.array([_RETURNS[number] for number in range(len(_RETURNS))], np.float32)
    mean = table[cover, :2].transpose(2, 0, 1)
    # A field with few plants returns like bare ground, a closed crop like a crop.
    bare = table[BARE, :2, None, None]
    open_ground = np.where(cover == CROP, np.clip(1.2 * (0.75 - surface.green_HW), 0, 1), 0)
    mean = mean + open_ground * (bare - mean)

    parcels = int(landscape.parcel_HW.max()) + 1
    own = _correlated(rng.standard_normal((2, parcels), dtype=np.float32))[:, landscape.parcel_HW]
    stand = _correlated(np.stack([matern_field(rng, size, 150 / gsd, 1.0) for _ in range(2)]))
    fine = _correlated(rng.standard_normal((2, size, size), dtype=np.float32))
    own = np.where(cover == FOREST, stand, own)
    wind = np.where(cover == WATER, rng.normal(0, 1.3), 0) * np.array([1, 0.5])[:, None, None]
    decibel = mean + table[cover, 2] * own + table[cover, 3] * fine + wind

    power = 10 ** (decibel / 10)
    power = gaussian_filter(power, (0, _BLUR / gsd, _BLUR / gsd), mode="nearest")
    return np.float32(10) * np.log10(speckle(rng, power)).astype(np.float32)


def speckle(rng: np.random.Generator, power: FloatArray) -> FloatArray:
    """Multiply power by fully developed speckle: gamma with mean 1 and variance 1 / LOOKS.

    Goodman (1976), doi:10.1364/JOSA.66.001145. Neighbouring pixels are independent here; in a real
    GRD product they are correlated over about two pixels.
    """
    grain = rng.standard_gamma(LOOKS, power.shape, dtype=np.float32) / np.float32(LOOKS)
    # The smallest normal grain keeps the logarithm finite.
    speckled: FloatArray = power * np.maximum(grain, np.float32(1e-3))
    return speckled


def _correlated(noise: FloatArray) -> FloatArray:
    """Make the second of two standard normal layers follow the first: VV and VH vary together."""
    follow = np.float32(0.7)
    return np.stack([noise[0], follow * noise[0] + np.sqrt(1 - follow**2) * noise[1]])
