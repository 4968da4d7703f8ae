"""The files of a map while it is made, and what is counted on the way.

K: classes or targets. H, W: height and width of the rows written. N: valid pixels among them.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from rasterio.windows import Window

from mapping._sweep import MapRows
from rasters import IGNORE_INDEX, Raster
from rasters.write import RasterWriter
from sensors import InputError
from specialists.spec import SpecialistSpec

Sources = str | Path | Sequence[str | Path]


def check_target(path: Path, sources: Sources, suffixes: tuple[str, ...]) -> None:
    """Refuse a place for a file before any work is done.

    Raises:
        InputError: If the ending is another, there is no such folder, or the scene lies there.
    """
    if path.suffix.lower() not in suffixes:
        raise InputError(f"{path}: expected a name that ends in {' or '.join(suffixes)}")
    if not path.parent.is_dir():
        raise InputError(f"{path}: there is no folder {path.parent}, make it first")
    for source in [sources] if isinstance(sources, str | Path) else sources:
        if Path(source).resolve() in (path.resolve(), path.parent.resolve()):
            raise InputError(
                f"{path}: this is where the scene lies ({source}), choose another place"
            )


def choose_paths(
    out: Path, spec: SpecialistSpec, *, probabilities: bool
) -> tuple[Path | None, Path | None]:
    """Where the class map goes and where layers of probabilities or target values go.

    Raises:
        InputError: If the specialist's task has no such layers.
    """
    if spec.task == "regression":
        if probabilities:
            raise InputError(
                "a regression has no probabilities: its map holds the values of "
                + ", ".join(spec.classes)
            )
        return None, out
    if spec.multi_label:
        if not probabilities:
            raise InputError(
                "a multi-label specialist has no single class a pixel: ask for probabilities "
                f"(--probabilities), and {out.name} will hold one band for each class"
            )
        return None, out
    return out, out.with_stem(f"{out.stem}_probabilities") if probabilities else None


class MapFiles:
    """Writes finished rows to the files that `choose_paths` chose.

    Nothing is seen at the targets until all rows are there; after an error nothing is left.
    """

    def __init__(
        self, spec: SpecialistSpec, raster: Raster, classes: Path | None, layers: Path | None
    ) -> None:
        grid: dict[str, Any] = {
            "height": raster.height,
            "width": raster.width,
            "transform": raster.transform,
            "crs": raster.crs,
        }
        self._stack = ExitStack()
        self._classes = classes and RasterWriter(
            classes,
            count=1,
            dtype="uint8",
            nodata=IGNORE_INDEX,
            class_names=spec.classes,
            **grid,
        )
        self._layers = layers and RasterWriter(
            layers,
            count=len(spec.classes),
            dtype="float32",
            nodata=float("nan"),
            descriptions=spec.classes,
            **grid,
        )

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            for writer in (self._classes, self._layers):
                if writer:
                    stack.enter_context(writer)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def write(self, rows: MapRows) -> None:
        """Write one finished part."""
        height, width = rows.valid_HW.shape
        window = Window(rows.column, rows.row, width, height)
        if self._classes:
            classes_HW = rows.values_KHW.argmax(0).astype(np.uint8)
            self._classes.write(np.where(rows.valid_HW, classes_HW, IGNORE_INDEX)[None], window)
        if self._layers:
            layers_KHW = np.where(rows.valid_HW, rows.values_KHW, np.float32("nan"))
            self._layers.write(layers_KHW, window)


class LayerCounts:
    """What a map holds, counted over its valid pixels.

    Args:
        spec: Says what the layers are.
    """

    def __init__(self, spec: SpecialistSpec) -> None:
        self._spec = spec
        layers = len(spec.classes)
        self.pixels = 0
        self._class_pixels = np.zeros(layers, np.int64)
        self._sums = np.zeros(layers, np.float64)
        self._minima = np.full(layers, np.inf)
        self._maxima = np.full(layers, -np.inf)

    def add(self, rows: MapRows) -> None:
        """Count one finished part."""
        values_KN = rows.values_KHW[:, rows.valid_HW]
        layers, pixels = values_KN.shape
        if not pixels:
            return
        self.pixels += pixels
        if self._spec.multi_label:
            self._class_pixels += (values_KN >= 0.5).sum(1)
        else:
            self._class_pixels += np.bincount(values_KN.argmax(0), minlength=layers)
        self._sums += values_KN.sum(1, dtype=np.float64)
        self._minima = np.minimum(self._minima, values_KN.min(1))
        self._maxima = np.maximum(self._maxima, values_KN.max(1))

    @property
    def shares(self) -> dict[str, float]:
        """Share of the valid pixels by class; empty for regression."""
        if self._spec.task == "regression":
            return {}
        shares = self._class_pixels / max(self.pixels, 1)
        return dict(zip(self._spec.classes, shares.tolist(), strict=True))

    @property
    def ranges(self) -> dict[str, tuple[float, float, float]]:
        """Minimum, mean and maximum by target of a regression, where there is a valid pixel."""
        if self._spec.task != "regression" or not self.pixels:
            return {}
        means = self._sums / self.pixels
        numbers = zip(self._minima.tolist(), means.tolist(), self._maxima.tolist(), strict=True)
        return dict(zip(self._spec.classes, numbers, strict=True))
