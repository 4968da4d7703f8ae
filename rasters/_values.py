"""From stored numbers to physical ones."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rasterio.enums import MaskFlags
from rasterio.io import DatasetReader
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window

from rasters._bands import Layer
from rasters._files import reading
from sensors.errors import InputError

Number = float | Mapping[str, float]


def with_scaling(
    layer: Layer, dataset: DatasetReader, scale: Number | None, offset: Number | None
) -> Layer:
    """The layer with the scale and offset to use: the user's, else the file's own, else the sensor's."""
    channel = layer.channel
    own_scale, own_offset = dataset.scales[layer.index - 1], dataset.offsets[layer.index - 1]
    if (own_scale, own_offset) != (1, 0):
        channel = replace(channel, scale=own_scale, offset=own_offset)
    wanted_scale, wanted_offset = _for_band(scale, channel.name), _for_band(offset, channel.name)
    if wanted_scale is not None:
        channel = replace(channel, scale=wanted_scale, offset=wanted_offset or 0.0)
    elif wanted_offset is not None:
        channel = replace(channel, offset=wanted_offset)
    return Layer(layer.index, channel)


def check_band_names(numbers: Number | None, names: Sequence[str], argument: str) -> None:
    """Refuse a scale or offset for a band that is not there.

    Raises:
        InputError: If a name is unknown.
    """
    unknown = sorted(set(numbers) - set(names)) if isinstance(numbers, Mapping) else []
    if unknown:
        raise InputError(
            f"{argument} names band {', '.join(unknown)}, but the bands are {', '.join(names)}"
        )


def fill_value(dataset: DatasetReader, layers: Sequence[Layer]) -> float | None:
    """Stored number that marks pixels without data when a file is resampled."""
    first = layers[0]
    declared = dataset.nodatavals[first.index - 1]
    if declared is not None:
        return float(declared)
    if np.issubdtype(np.dtype(dataset.dtypes[first.index - 1]), np.floating):
        return math.nan
    return first.channel.nodata


def read_physical(
    path: Path, view: DatasetReader | WarpedVRT, layers: Sequence[Layer], window: Window
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Read a window inside the file: physical pixels (invalid ones 0) and their validity, both `(C, H, W)`."""
    indexes = [layer.index for layer in layers]
    with reading(path):
        stored = view.read(indexes, window=window)
        masked = {MaskFlags.per_dataset, MaskFlags.alpha} & set(
            view.mask_flag_enums[indexes[0] - 1]
        )
        mask = view.read_masks(indexes[0], window=window) if masked else None
    pixels = stored.astype(np.float32)
    valid = np.isfinite(pixels)
    if mask is not None:
        valid &= mask > 0
    for position, layer in enumerate(layers):
        for nodata in {view.nodatavals[layer.index - 1], layer.channel.nodata} - {None}:
            valid[position] &= stored[position] != nodata
    pixels[~valid] = 0
    pixels *= _column([layer.channel.scale for layer in layers])
    pixels += _column([layer.channel.offset for layer in layers])
    pixels[~valid] = 0
    _check_scaled_once(path, stored, pixels, valid, layers)
    return pixels, valid


def _check_scaled_once(
    path: Path,
    stored: NDArray[np.generic],
    pixels: NDArray[np.float32],
    valid: NDArray[np.bool_],
    layers: Sequence[Layer],
) -> None:
    """Refuse reflectance kept as 0..1 in a floating-point file that a sensor's scale would shrink to nothing."""
    if not np.issubdtype(stored.dtype, np.floating):
        return
    for position, layer in enumerate(layers):
        channel = layer.channel
        small = channel.quantity in ("reflectance", "brightness") and channel.scale < 0.01
        values = stored[position][valid[position]]
        if small and values.size and 0 < np.abs(values).max() < 3:
            raise InputError(
                f"{path}: band {channel.name} holds numbers up to {np.abs(values).max():.3g}, which are reflectance "
                f"already, and a scale of {channel.scale:g} would be applied: set scale: 1"
            )


def _for_band(numbers: Number | None, name: str) -> float | None:
    return numbers.get(name) if isinstance(numbers, Mapping) else numbers


def _column(numbers: Sequence[float]) -> NDArray[np.float32]:
    return np.array(numbers, dtype=np.float32)[:, None, None]
