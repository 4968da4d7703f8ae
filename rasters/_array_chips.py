"""Chips that come as arrays of stored numbers, from another library's data set.

Shape suffixes: C bands, H rows, W columns, K classes or values.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from affine import Affine
from numpy.typing import NDArray
from rasterio.windows import Window

from rasters._grid import Grid, clip_window
from rasters._masks import MaskReader
from rasters._values import check_scaled_once, make_physical
from rasters.image import RasterImage
from rasters.physical import check_physical
from sensors.bands import Channel
from sensors.errors import InputError


@dataclass(frozen=True)
class ArrayChips:
    """How arrays become items of `ChipDataset`.

    Args:
        layers: Which of the arrays' layers are read, from 0, ...
        bands: ... and what they measure.
        classes: Names of the classes, or of the values of a regression.
        masks: How to understand masks; None for labels of whole scenes.
        values: Labels of scenes are numbers.
        multi_label: A scene's label is a 0 or 1 for every class.
        chip_size: Centre-crop or pad every chip to this side.
    """

    layers: tuple[int, ...]
    bands: tuple[Channel, ...]
    classes: tuple[str, ...]
    masks: MaskReader | None = None
    values: bool = False
    multi_label: bool = False
    chip_size: int | None = None

    def item(self, name: str, stored_CHW: NDArray[Any], target: NDArray[Any]) -> dict[str, Any]:
        """One chip.

        Args:
            name: Its id.
            stored_CHW: All layers, as stored.
            target: Its mask, or its label.

        Raises:
            InputError: If the numbers cannot be what the bands measure, or the target is not what
                the task needs.
        """
        pixels, valid = self._pixels(name, stored_CHW)
        height, width = pixels.shape[-2:]
        size = self.chip_size
        window = (
            Window(0, 0, width, height)
            if size is None
            else Window((width - size) // 2, (height - size) // 2, size, size)
        )
        item: dict[str, Any] = {
            "image": torch.from_numpy(_framed(pixels, window, 0)),
            "valid": torch.from_numpy(_framed(valid, window, False)),
            "id": name,
        }
        if self.masks is None:
            item["label"] = self._label(name, target)
        else:
            grid = Grid(height, width, Affine.identity(), None)
            labels = torch.from_numpy(self.masks.read(target, grid, window, name))
            item["mask"] = labels if self.masks.values else labels.long()
        return item

    def _pixels(
        self, name: str, stored_CHW: NDArray[Any]
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        if stored_CHW.ndim != 3 or len(stored_CHW) <= max(self.layers):
            raise InputError(
                f"{name}: an image of shape {stored_CHW.shape}, expected (bands, rows, columns) "
                f"with {max(self.layers) + 1} bands or more"
            )
        pixels = stored_CHW[list(self.layers)].astype(np.float32)
        valid = np.isfinite(pixels)
        for layer, band in enumerate(self.bands):
            if band.nodata is not None:
                valid[layer] &= pixels[layer] != band.nodata
        if (pixels[valid] != np.floor(pixels[valid])).any():
            check_scaled_once(name, pixels, valid, self.bands)
        make_physical(pixels, valid, self.bands)
        try:
            check_physical(RasterImage(pixels, valid, self.bands, Affine.identity(), None))
        except InputError as error:
            raise InputError(f"{name}: {error}") from error
        return pixels, valid

    def _label(self, name: str, target: NDArray[Any]) -> torch.Tensor:
        count = len(self.classes)
        if self.values or self.multi_label:
            values = np.atleast_1d(target).astype(np.float32)
            if values.shape != (count,):
                raise InputError(
                    f"{name}: a label of shape {values.shape}, expected one number for each of "
                    f"{', '.join(self.classes)}"
                )
            return torch.from_numpy(values)
        if target.size != 1 or not 0 <= int(target.item()) < count:
            raise InputError(
                f"{name}: label {target.tolist()} is not one of the {count} classes (0 to "
                f"{count - 1}); several need multi_label"
            )
        return torch.tensor(int(target.item()))


def _framed(array: NDArray[Any], window: Window, fill: float) -> NDArray[Any]:
    """What lies under a window that may reach outside, where it is `fill`."""
    inside = clip_window(window, *array.shape[-2:])
    shape = (*array.shape[:-2], int(window.height), int(window.width))
    framed = np.full(shape, fill, dtype=array.dtype)
    row, column = inside.row_off - window.row_off, inside.col_off - window.col_off
    place = Window(column, row, inside.width, inside.height).toslices()
    framed[(..., *place)] = array[(..., *inside.toslices())]
    return framed
