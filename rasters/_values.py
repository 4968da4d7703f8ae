"""From stored numbers to physical ones."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rasterio.enums import MaskFlags
from rasterio.io import DatasetReader
from rasterio.windows import Window

from rasters._bands import Layer
from rasters._files import reading
from rasters._grid import Grid, align
from sensors.bands import Channel
from sensors.errors import InputError

Number = float | Mapping[str, float]


def with_scaling(
    layers: Sequence[Layer], dataset: DatasetReader, scale: Number | None, offset: Number | None
) -> tuple[Layer, ...]:
    """Layers with the scale and offset to use: the user's, else the file's, else the sensor's."""
    scales, offsets = dataset.scales, dataset.offsets
    scaled = []
    for layer in layers:
        channel = layer.channel
        declared = scales[layer.index - 1], offsets[layer.index - 1]
        if declared != (1, 0):
            channel = replace(channel, scale=declared[0], offset=declared[1])
        scaled.append(Layer(layer.index, rescaled(channel, scale, offset)))
    return tuple(scaled)


def rescaled(channel: Channel, scale: Number | None, offset: Number | None) -> Channel:
    """The band with the user's scale and offset, where there are any for it."""
    own_scale, own_offset = _for_band(scale, channel.name), _for_band(offset, channel.name)
    if own_scale is not None:
        return replace(channel, scale=own_scale, offset=own_offset or 0.0)
    return channel if own_offset is None else replace(channel, offset=own_offset)


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


class LayerReader:
    """Reads some layers of an open file on the stack's grid, in physical units.

    Args:
        path: The file, for messages.
        dataset: The file, open.
        own: Grid of the file.
        grid: Grid of the stack.
        layers: Layers to read, with their scaling.
    """

    def __init__(
        self, path: Path, dataset: DatasetReader, own: Grid, grid: Grid, layers: Sequence[Layer]
    ) -> None:
        self.path = path
        self.channels = tuple(layer.channel for layer in layers)
        self._indexes = [layer.index for layer in layers]
        first = self._indexes[0] - 1
        file_nodata, dtype = dataset.nodatavals, np.dtype(dataset.dtypes[first])
        self._is_floating = bool(np.issubdtype(dtype, np.floating))
        self._nodata = [
            {file_nodata[layer.index - 1], layer.channel.nodata} - {None} for layer in layers
        ]
        fill = file_nodata[first]
        if fill is None:
            fill = math.nan if self._is_floating else self.channels[0].nodata
        with reading(path):
            has_mask = MaskFlags.per_dataset in dataset.mask_flag_enums[first]
            self._view = align(dataset, own, grid, nodata=fill)
        self._has_mask = has_mask and self._view is dataset  # a resampled file has NaN there

    def read(self, window: Window) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Physical pixels of a window (invalid ones 0) and their validity, both `(C, H, W)`."""
        with reading(self.path):
            stored = self._view.read(self._indexes, window=window)
            mask = (
                self._view.read_masks(self._indexes[0], window=window) if self._has_mask else None
            )
        pixels = stored.astype(np.float32)
        valid = np.isfinite(pixels)
        if mask is not None:
            valid &= mask > 0
        for layer, numbers in enumerate(self._nodata):
            for nodata in numbers:
                valid[layer] &= stored[layer] != nodata
        if self._is_floating:
            check_scaled_once(str(self.path), pixels, valid, self.channels)
        make_physical(pixels, valid, self.channels)
        return pixels, valid

    def close(self) -> None:
        """Close the view of the file."""
        self._view.close()


def make_physical(
    pixels_CHW: NDArray[np.float32], valid_CHW: NDArray[np.bool_], channels: Sequence[Channel]
) -> None:
    """Turn stored numbers into physical ones, in place; what is not valid becomes 0."""
    pixels_CHW[~valid_CHW] = 0  # an infinite number would spread a warning
    pixels_CHW *= _column([channel.scale for channel in channels])
    pixels_CHW += _column([channel.offset for channel in channels])
    pixels_CHW[~valid_CHW] = 0


def check_scaled_once(
    name: str,
    stored_CHW: NDArray[np.float32],
    valid_CHW: NDArray[np.bool_],
    channels: Sequence[Channel],
) -> None:
    """Refuse reflectance stored as 0..1 that a sensor's scale would shrink to nothing."""
    small = [
        layer
        for layer, channel in enumerate(channels)
        if channel.quantity in ("reflectance", "brightness") and channel.scale < 0.01
    ]
    values = stored_CHW[small][valid_CHW[small]]
    largest = float(np.abs(values).max(initial=0))
    if 0 < largest < 3:
        raise InputError(
            f"{name}: numbers up to {largest:.3g} are reflectance already, and a scale of "
            f"{channels[small[0]].scale:g} would be applied: set scale: 1"
        )


def _for_band(numbers: Number | None, name: str) -> float | None:
    return numbers.get(name) if isinstance(numbers, Mapping) else numbers


def _column(numbers: Sequence[float]) -> NDArray[np.float32]:
    return np.array(numbers, dtype=np.float32)[:, None, None]
