"""Simulated clouds over optical scenes: opaque core, thin edge, and the shadow on the ground."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rasters._fields import FloatArray, matern_field
from rasters._spectra import integrate_materials, material_names
from rasters._surface import SUN_AZIMUTH, SUN_ZENITH
from sensors import Band

_HEIGHT = 600.0  # metres of the cloud above the ground
_THIN = 0.3  # opacity from which a pixel counts as cloudy
_EDGE = 0.7  # width of the edge, in standard deviations of the cloud field


@dataclass(frozen=True)
class Clouds:
    """Clouds on a pixel grid.

    Args:
        opacity_HW: 0 (clear) to 1 (nothing of the ground is seen).
        shadow_HW: Share of the direct sunlight that a cloud takes from the ground.
        brightness_HW: Standard deviations from the mean cloud spectrum.
    """

    opacity_HW: FloatArray
    shadow_HW: FloatArray
    brightness_HW: FloatArray

    @property
    def mask_HW(self) -> NDArray[np.bool_]:
        """Where a cloud covers the ground, its thin edge included, its shadow not."""
        return self.opacity_HW >= _THIN

    def averaged(self, factor: int) -> "Clouds":
        """The same clouds on a grid `factor` times coarser."""
        return Clouds(
            *(average(a, factor) for a in (self.opacity_HW, self.shadow_HW, self.brightness_HW))
        )

    def over(self, ground_BHW: FloatArray, bands: tuple[Band, ...]) -> FloatArray:
        """The ground's reflectance (B, H, W) as seen through the clouds and in their shadow.

        Skylight still reaches a shadow, more of it at short wavelengths: 0.15 + 0.2 (0.45 um /
            wavelength)^2
        of the sunlight, of the order of clear-sky diffuse fractions.
        """
        wavelength = np.array([band.center_wavelength for band in bands], np.float32)
        skylight = (0.15 + 0.2 * np.minimum(0.45 / wavelength, 1) ** 2)[:, None, None]
        lit = 1 - self.shadow_HW * (1 - skylight)
        cloud = integrate_materials(bands)[:, material_names().index("cloud"), :, None, None]
        white = cloud[:, 0] + cloud[:, 1] * self.brightness_HW
        seen: FloatArray = ground_BHW * lit * (1 - self.opacity_HW) + white * self.opacity_HW
        return seen


def draw_clouds(rng: np.random.Generator, size: int, cover: float, gsd: float) -> Clouds:
    """Draw clouds that cover the fraction `cover` of a scene; shadows fall away from the sun."""
    drop = _HEIGHT * np.tan(SUN_ZENITH) / gsd
    down, left = round(-np.cos(SUN_AZIMUTH) * drop), round(np.sin(SUN_AZIMUTH) * drop)
    # The sun stands in the south-east: clouds beyond the lower right corner shade the scene too.
    field = matern_field(rng, size + max(down, left), 350 / gsd, 0.8)
    if cover == 0:
        clear = np.zeros((size, size), np.float32)
        return Clouds(clear, clear, clear)
    threshold = np.quantile(field[:size, :size], 1 - cover)
    depth = (field - threshold) / _EDGE + _THIN
    opacity = np.clip(depth, 0, 1).astype(np.float32)
    return Clouds(
        opacity_HW=opacity[:size, :size],
        shadow_HW=opacity[down : down + size, left : left + size],
        brightness_HW=np.clip(field[:size, :size], -1.5, 2.0),
    )


def average(layers: FloatArray, factor: int) -> FloatArray:
    """Block means of the last two axes."""
    *front, height, width = layers.shape
    blocks = layers.reshape(*front, height // factor, factor, width // factor, factor)
    mean: FloatArray = blocks.mean((-3, -1))
    return mean
