"""Colours in which people can look at a stack of bands.

C: bands of the scene. H, W: height and width of an image in pixels.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rasters.image import RasterImage
from sensors import Band, BandPlan, Channel, Quantity, SarChannel

NODATA = 0.9
"""Grey of pixels without data."""

_EYE = (("red", 0.655, 0.07), ("green", 0.56, 0.07), ("blue", 0.48, 0.07))  # centre, width in um
_SEEN: tuple[Quantity, ...] = ("reflectance", "brightness")


def picture_bands(bands: Sequence[Channel]) -> tuple[Channel, ...]:
    """The bands to look at: red, green, blue if they are there, else VV and VH, else the first."""
    for quantity in _SEEN:
        eye = tuple(Band(*entry, quantity=quantity) for entry in _EYE)
        if BandPlan.match(eye, tuple(bands)).is_applicable:
            return eye
    radar = {band.polarization: band for band in bands if isinstance(band, SarChannel)}
    if {"VV", "VH"} <= radar.keys():
        return radar["VV"], radar["VH"]
    return (bands[0],)


def render_scene(scene: RasterImage) -> tuple[NDArray[np.float64], str]:
    """Colours of a scene as (H, W, 3) in 0..1, and in words what they show.

    True colour, or radar VV, VH and their difference, or one band in grey, as `picture_bands`
    finds them. Each colour is stretched between its 2nd and 98th percentile; pixels without data
    are light grey.
    """
    seen = scene.select(picture_bands(scene.bands))
    layers = list(seen.pixels)
    words = seen.bands[0].describe()
    if len(layers) == 3:
        words = "true colour"
    elif len(layers) == 2:
        layers.append(layers[0] - layers[1])
        words = "red VV, green VH, blue VV - VH (dB)"
    stretched = [_stretch(layer, seen.valid_HW) for layer in layers]
    return np.stack(stretched * (3 // len(stretched)), axis=-1), words


def _stretch(layer_HW: NDArray[np.float32], valid_HW: NDArray[np.bool_]) -> NDArray[np.float64]:
    if not valid_HW.any():
        return np.full(layer_HW.shape, NODATA)
    low, high = np.percentile(layer_HW[valid_HW], (2, 98))
    stretched = np.clip((layer_HW - low) / max(high - low, 1e-9), 0, 1)
    return np.where(valid_HW, stretched, NODATA)
