"""Reading masks: from stored numbers to class indices or physical values on the image's grid."""

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from rasters._files import open_dataset, reading
from rasters._grid import Grid, align, clip_window
from rasters._samples import Mask
from sensors.errors import InputError

IGNORE_INDEX = 255  # in masks: a pixel without a label; in maps: a pixel without a class
CLASSES_TAG = "TERRAGUILD_CLASSES"  # class names of a class map, as a JSON list


@dataclass(frozen=True)
class MaskReader:
    """How the numbers of a data set's masks are to be understood.

    Args:
        classes: Names of the classes; for values, of the layers.
        label_map: Stored number to class name, other numbers are ignored; None: numbers are
            indices.
        ignore: Stored numbers that mean "no label", beside the file's own nodata.
        layer: Description of the layer that holds the labels; None for files of labels alone.
        values: The layers hold values of a regression, not classes.
        resample: A georeferenced mask of another pixel size is read at the image's (nearest pixel).
        same_grid: The mask has the image's grid, whatever it says.
    """

    classes: tuple[str, ...]
    label_map: Mapping[int, str] | None = None
    ignore: tuple[int, ...] = (-1, IGNORE_INDEX)
    layer: str | None = None
    values: bool = False
    resample: bool = False
    same_grid: bool = False

    def read(self, mask: Mask, grid: Grid, window: Window, name: str) -> NDArray[Any]:
        """Labels under a window of an image, which may reach outside.

        Args:
            mask: File or array.
            grid: Of the whole image.
            window: Rows and columns of the image.
            name: What to call an array in a message.

        Returns:
            Class indices, uint8 `(H, W)` with 255 for none; or float32 `(K, H, W)` with NaN for
            none.

        Raises:
            InputError: If size or place is not the image's, or a number is outside the classes.
        """
        inside = clip_window(window, grid.height, grid.width)
        if isinstance(mask, Path):
            stored_CHW, nodata = self._read_file(mask, grid, inside)
            name = str(mask)
        else:
            _check_size(name, mask.shape[-2:], grid)
            rows, columns = inside.toslices()
            stored_CHW, nodata = mask.reshape(-1, *grid.shape)[:, rows, columns], None
        convert = self._to_values if self.values else self._to_classes
        labels: NDArray[Any] = convert(name, stored_CHW, nodata)
        shape = (*labels.shape[:-2], int(window.height), int(window.width))
        framed = np.full(shape, np.nan if self.values else IGNORE_INDEX, dtype=labels.dtype)
        place = Window(
            inside.col_off - window.col_off,
            inside.row_off - window.row_off,
            inside.width,
            inside.height,
        )
        framed[(..., *place.toslices())] = labels
        return framed

    def _read_file(
        self, path: Path, grid: Grid, window: Window
    ) -> tuple[NDArray[Any], float | None]:
        with ExitStack() as closing:
            dataset = open_dataset(path)
            closing.callback(dataset.close)
            index = (
                None if self.layer is None else _find_layer(path, dataset.descriptions, self.layer)
            )
            own = grid if self.same_grid else Grid.of(dataset)
            with reading(path):
                view = dataset
                if self.resample and own.crs is not None and grid.crs is not None:
                    view = align(dataset, own, grid, nodata=dataset.nodata, categorical=True)
                    closing.callback(view.close)
                _check_size(str(path), view.shape, grid)
                if view is dataset and not own.coincides(grid):
                    raise InputError(
                        f"{path}: the mask has the image's size but lies elsewhere; set same_grid: "
                        "true if its georeference is wrong"
                    )
                stored = view.read(None if index is None else [index], window=window)
            return stored, dataset.nodatavals[(index or 1) - 1]

    def _to_values(
        self, name: str, stored_CHW: NDArray[Any], nodata: float | None
    ) -> NDArray[np.float32]:
        if len(stored_CHW) != len(self.classes):
            raise InputError(
                f"{name}: {len(stored_CHW)} layers of values, expected {len(self.classes)} "
                f"({', '.join(self.classes)})"
            )
        values = stored_CHW.astype(np.float32)
        values[~np.isfinite(values) | (stored_CHW == nodata)] = np.nan
        return values

    def _to_classes(
        self, name: str, stored_CHW: NDArray[Any], nodata: float | None
    ) -> NDArray[np.uint8]:
        if len(stored_CHW) != 1:
            raise InputError(
                f"{name}: {len(stored_CHW)} layers, expected a mask of one; name mask_layer"
            )
        stored = stored_CHW[0]
        labels = np.full(stored.shape, IGNORE_INDEX, dtype=np.uint8)
        if self.label_map is not None:
            for number, class_name in self.label_map.items():
                labels[stored == number] = self.classes.index(class_name)
            return labels
        known = (stored >= 0) & (stored < len(self.classes)) & (stored == np.floor(stored))
        known &= (stored != nodata) & ~np.isin(stored, self.ignore)
        labels[known] = stored[known].astype(np.uint8)
        empty = np.isin(stored, self.ignore) | ~np.isfinite(stored) | (stored == nodata)
        strange = stored[~known & ~empty]
        if strange.size:
            raise InputError(
                f"{name}: label {strange.flat[0]:g} is outside the {len(self.classes)} classes "
                f"(0 to {len(self.classes) - 1}); say what the numbers mean with label_map"
            )
        return labels


def choose_classes(
    classes: Sequence[str] | None, label_map: Mapping[int, str] | None, mask: Mask | None
) -> tuple[str, ...]:
    """Class names as given, else those of the label map, else those that a class map carries.

    Raises:
        InputError: If there are none, or the label map names others.
    """
    mapped = tuple(dict.fromkeys((label_map or {}).values()))
    if classes is None:
        names = mapped or (_carried_classes(mask) if isinstance(mask, Path) else ())
        if not names:
            raise InputError("name the classes: classes, or for masks label_map")
        return names
    unknown = [name for name in mapped if name not in classes]
    if unknown:
        raise InputError(
            f"label_map names {', '.join(unknown)}, which is not among the classes "
            f"{', '.join(classes)}"
        )
    return tuple(classes)


def _carried_classes(path: Path) -> tuple[str, ...]:
    with open_dataset(path) as dataset:
        return tuple(json.loads(dataset.tags().get(CLASSES_TAG, "[]")))


def _find_layer(path: Path, descriptions: tuple[str | None, ...], name: str) -> int:
    if name not in descriptions:
        known = ", ".join(text or "(no name)" for text in descriptions)
        raise InputError(f"{path}: no layer is called {name!r}; its layers are {known}")
    return descriptions.index(name) + 1


def _check_size(name: str, shape: tuple[int, ...], grid: Grid) -> None:
    if tuple(shape) != grid.shape:
        raise InputError(
            f"{name}: a mask of {shape[0]} x {shape[1]} pixels beside an image of "
            f"{grid.height} x {grid.width}: they must be equal"
        )
