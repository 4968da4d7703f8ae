"""The files of a map: where they may lie, and writing them while the map is made.

K: classes or targets. H, W: height and width of the rows written.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rasterio.windows import Window

from mapping._sweep import MapRows
from rasters import IGNORE_INDEX, Raster
from rasters.write import RasterWriter
from sensors import InputError
from specialists.task_spec import TaskSpec

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
    out: Path, spec: TaskSpec, *, probabilities: bool
) -> tuple[Path | None, Path | None]:
    """Where the class map goes and where layers of probabilities or target values go.

    Raises:
        InputError: If the specialist's task has no such layers.
    """
    if spec.task == "similarity-search":
        raise InputError(
            "a backbone for similarity search answers no question, so there is nothing to map: "
            "train a specialist that starts from it (specialist.pretrained)"
        )
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


@dataclass(frozen=True)
class MapFiles:
    """The open files of a map, where finished rows are written."""

    classes: RasterWriter | None
    layers: RasterWriter | None
    members: RasterWriter | None

    def write(self, rows: MapRows) -> None:
        """Write one finished part."""
        height, width = rows.valid_HW.shape
        window = Window(rows.column, rows.row, width, height)
        if self.classes:
            classes_HW = rows.values_KHW.argmax(0).astype(np.uint8)
            self.classes.write(np.where(rows.valid_HW, classes_HW, IGNORE_INDEX)[None], window)
        if self.layers:
            layers_KHW = np.where(rows.valid_HW, rows.values_KHW, np.float32("nan"))
            self.layers.write(layers_KHW, window)
        if self.members and rows.choices_HW is not None:
            self.members.write(rows.choices_HW[None], window)


@contextmanager
def open_map_files(
    spec: TaskSpec,
    raster: Raster,
    classes: Path | None,
    layers: Path | None,
    members: Path | None = None,
    choices: Sequence[str] = (),
) -> Iterator[MapFiles]:
    """Open the files that `choose_paths` chose, on the scene's grid.

    Args:
        spec: Says what the layers are.
        raster: The scene.
        classes: Where the class map goes, if there is to be one.
        layers: The same for layers of probabilities or values.
        members: The same for the map of who was asked.
        choices: Names of all that may have been asked.

    Nothing is seen at the targets until all rows are there; after an error nothing is left.
    """
    grid: dict[str, Any] = {
        "height": raster.height,
        "width": raster.width,
        "transform": raster.transform,
        "crs": raster.crs,
    }
    with ExitStack() as stack:
        class_writer = layer_writer = member_writer = None
        if classes:
            class_writer = stack.enter_context(
                RasterWriter(
                    classes,
                    count=1,
                    dtype="uint8",
                    nodata=IGNORE_INDEX,
                    class_names=spec.classes,
                    **grid,
                )
            )
        if layers:
            layer_writer = stack.enter_context(
                RasterWriter(
                    layers,
                    count=len(spec.classes),
                    dtype="float32",
                    nodata=float("nan"),
                    descriptions=spec.classes,
                    **grid,
                )
            )
        if members:
            member_writer = stack.enter_context(
                RasterWriter(
                    members,
                    count=1,
                    dtype="uint8",
                    nodata=IGNORE_INDEX,
                    class_names=choices,
                    **grid,
                )
            )
        yield MapFiles(class_writer, layer_writer, member_writer)
