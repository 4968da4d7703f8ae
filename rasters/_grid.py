"""The pixel grid that stacked files share."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from affine import Affine
from rasterio.crs import CRS
from rasterio.enums import Resampling
from rasterio.io import DatasetReader
from rasterio.vrt import WarpedVRT
from rasterio.warp import transform_bounds
from rasterio.windows import Window

from sensors.errors import InputError

METRES_PER_DEGREE = math.pi / 180 * 6371008.8  # mean Earth radius, IUGG


@dataclass(frozen=True)
class Grid:
    """Where the pixels of an image lie."""

    height: int
    width: int
    transform: Affine
    crs: CRS | None

    @classmethod
    def of(cls, dataset: DatasetReader) -> "Grid":
        """Grid of an open file."""
        return cls(dataset.height, dataset.width, dataset.transform, dataset.crs)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.height, self.width

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Left, bottom, right, top in the units of the CRS."""
        corners = [self.locate(x, y) for x in (0, self.width) for y in (0, self.height)]
        xs, ys = zip(*corners, strict=True)
        return min(xs), min(ys), max(xs), max(ys)

    @property
    def gsd(self) -> float | None:
        """Ground sample distance in metres; degrees are converted at the latitude of the centre."""
        if self.crs is None:
            return None
        column = math.hypot(self.transform.a, self.transform.d)
        row = math.hypot(self.transform.b, self.transform.e)
        if self.crs.is_geographic:
            _, latitude = self.locate(self.width / 2, self.height / 2)
            return METRES_PER_DEGREE * math.sqrt(
                column * row * abs(math.cos(math.radians(latitude)))
            )
        return math.sqrt(column * row) * float(self.crs.linear_units_factor[1])

    def at_gsd(self, gsd: float) -> "Grid":
        """The same ground in pixels of `gsd` metres; the last ones may reach beyond it."""
        if self.gsd is None:
            raise InputError(
                "the image has no CRS, so its pixels have no size in metres: leave out gsd"
            )
        factor = gsd / self.gsd
        if math.isclose(factor, 1, rel_tol=1e-4):
            return self
        t = self.transform
        return replace(
            self,
            height=max(1, math.ceil(self.height / factor - 1e-6)),
            width=max(1, math.ceil(self.width / factor - 1e-6)),
            transform=Affine(t.a * factor, t.b * factor, t.c, t.d * factor, t.e * factor, t.f),
        )

    def locate(self, column: float, row: float) -> tuple[float, float]:
        """Coordinates of a place in the image; whole numbers are corners of pixels."""
        t = self.transform
        return t.a * column + t.b * row + t.c, t.d * column + t.e * row + t.f

    def window(self, window: Window) -> "Grid":
        """The part under a window, which may reach outside."""
        t, (x, y) = self.transform, self.locate(window.col_off, window.row_off)
        return replace(
            self,
            height=int(window.height),
            width=int(window.width),
            transform=Affine(t.a, t.b, x, t.d, t.e, y),
        )

    def coincides(self, other: "Grid") -> bool:
        """Whether every pixel lies on the pixel of the same row and column of the other grid."""
        if self.shape != other.shape:
            return False
        if self.crs is None or other.crs is None:
            return True
        pixel = abs(self.transform.determinant) ** 0.5
        drift = [
            math.dist(self.locate(*corner), other.locate(*corner))
            for corner in ((0, 0), (self.width, 0), (0, self.height))
        ]
        return bool(self.crs == other.crs and max(drift) < pixel / 50)


def clip_window(window: Window, height: int, width: int) -> Window:
    """The part of a window inside an image; empty if there is none."""
    top, left = min(max(window.row_off, 0), height), min(max(window.col_off, 0), width)
    bottom = max(top, min(window.row_off + window.height, height))
    right = max(left, min(window.col_off + window.width, width))
    return Window(left, top, right - left, bottom - top)


def common_grid(
    grids: Mapping[Path, Grid], *, gsd: float | None = None, same_grid: bool = False
) -> tuple[Grid, dict[Path, Grid]]:
    """The grid to stack files on, and the grid that each file has or is taken to have.

    Args:
        grids: What each file says.
        gsd: Pixel size wanted in metres; None for the finest of the files, whatever their order.
        same_grid: All files have the grid of the first, whatever they say.

    Raises:
        InputError: If files without CRS differ in size, if files do not lie on the same ground, or
            if their georeferences contradict each other.
    """
    first = next(iter(grids))
    located = {path: grid for path, grid in grids.items() if grid.crs is not None}
    reference = first
    if located and not same_grid:
        reference = min(located, key=lambda path: _fineness(path, located[path]))
    for path, grid in grids.items():
        if same_grid or grid.crs is None:
            _check_same_size(path, grid, reference, grids[reference])
        else:
            _check_same_ground(path, grid, reference, grids[reference])
    own = {
        path: grids[reference] if same_grid or grid.crs is None else grid
        for path, grid in grids.items()
    }
    return grids[reference] if gsd is None else grids[reference].at_gsd(gsd), own


def _fineness(path: Path, grid: Grid) -> tuple[float, int, str]:
    return grid.gsd or math.inf, -grid.height * grid.width, str(path)


def _check_same_size(path: Path, grid: Grid, reference_path: Path, reference: Grid) -> None:
    if grid.shape != reference.shape:
        raise InputError(
            f"{path} has {_size(grid)} pixels and {reference_path} has {_size(reference)}: "
            "without a georeference to go by, only files of equal size can be stacked"
        )


def _check_same_ground(path: Path, grid: Grid, reference_path: Path, reference: Grid) -> None:
    same_corner = grid.crs == reference.crs and np.allclose(
        (grid.transform.c, grid.transform.f), (reference.transform.c, reference.transform.f)
    )
    if same_corner and grid.shape == reference.shape and not grid.coincides(reference):
        raise InputError(
            f"{path} and {reference_path} have the same corner and {_size(grid)} pixels each, but "
            f"pixels of {grid.gsd:g} m and {reference.gsd:g} m: one georeference is wrong. If they "
            "show the same ground, set same_grid: true and name the file with the right "
            "georeference first"
        )
    left, bottom, right, top = transform_bounds(grid.crs, reference.crs, *grid.bounds)
    west, south, east, north = reference.bounds
    if left >= east or right <= west or bottom >= north or top <= south:
        raise InputError(f"{path} and {reference_path} do not overlap: they cannot be stacked")


def _size(grid: Grid) -> str:
    return f"{grid.height} x {grid.width}"


def align(
    dataset: DatasetReader,
    own: Grid,
    grid: Grid,
    *,
    nodata: float | None = None,
    categorical: bool = False,
) -> DatasetReader | WarpedVRT:
    """View a file that has the grid `own` on another grid; nothing is read before it is asked for.

    Upsampling is bilinear, downsampling averages, and class codes take the nearest pixel. Numbers
    are mixed as they are stored, so radar in decibels is mixed in decibels.
    """
    if own.coincides(grid):
        return dataset
    if categorical:
        resampling = Resampling.nearest
    elif (own.gsd or 0) < (grid.gsd or 0) * 0.999:
        resampling = Resampling.average
    else:
        resampling = Resampling.bilinear
    return WarpedVRT(
        dataset,
        src_crs=own.crs,
        src_transform=own.transform,
        crs=grid.crs,
        transform=grid.transform,
        height=grid.height,
        width=grid.width,
        resampling=resampling,
        # Whole numbers would be rounded, and their nodata could not tell where the file ends.
        dtype="float32",
        src_nodata=nodata,
        nodata=math.nan,
        UNIFIED_SRC_NODATA="NO",  # a dead band must not empty the others
    )
