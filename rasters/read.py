"""Georeferenced files as one stack of bands, by window and in physical units."""

import itertools
import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self, TypedDict, Unpack

import numpy as np
from affine import Affine
from rasterio.crs import CRS
from rasterio.io import DatasetReader
from rasterio.windows import Window

from rasters._files import Sources, expand_sources, open_dataset
from rasters._grid import Grid, clip_window, common_grid
from rasters._stack import Sensors, choose_layers, load_sensors
from rasters._values import LayerReader, Number, check_band_names, with_scaling
from rasters.image import RasterImage
from rasters.physical import check_physical
from sensors.bands import Channel
from sensors.errors import InputError


class ReadOptions(TypedDict, total=False):
    """How files are to be understood; the arguments of `open_raster`."""

    sensor: Sensors | None
    bands: Sequence[str] | None
    drop_bands: Sequence[str] | None
    layers: Mapping[str, Sequence[str]] | None
    gsd: float | None
    processing_baseline: str | None
    scale: Number | None
    offset: Number | None
    same_grid: bool


class Raster:
    """Files stacked into one image that is read by window.

    Made by `open_raster`; a context manager that closes the files.
    """

    def __init__(
        self,
        files: Sequence[LayerReader],
        order: Sequence[Channel],
        grid: Grid,
        closing: ExitStack,
    ) -> None:
        self._files = tuple(files)
        self._positions = [[order.index(band) for band in file.channels] for file in files]
        scaled = [band for file in files for band in file.channels]
        self.bands: tuple[Channel, ...] = tuple(scaled[scaled.index(band)] for band in order)
        self._grid = grid
        self._closing = closing

    @property
    def grid(self) -> Grid:
        """Shape, transform and CRS together."""
        return self._grid

    @property
    def height(self) -> int:
        """Rows."""
        return self._grid.height

    @property
    def width(self) -> int:
        """Columns."""
        return self._grid.width

    @property
    def transform(self) -> Affine:
        """From column and row to coordinates."""
        return self._grid.transform

    @property
    def crs(self) -> CRS | None:
        """Coordinate reference system; None for a plain picture."""
        return self._grid.crs

    @property
    def gsd(self) -> float | None:
        """Ground sample distance in metres; None without a CRS."""
        return self._grid.gsd

    def read(self, window: Window | None = None) -> RasterImage:
        """Read a window, or everything; only the blocks under the window are read from the files.

        Args:
            window: Rows and columns; it may reach outside, where everything is invalid.

        Raises:
            InputError: If a file turns out to be truncated, or its numbers cannot be what its bands
                measure (`check_physical`).
        """
        wanted = Window(0, 0, self.width, self.height) if window is None else _whole_pixels(window)
        height, width = int(wanted.height), int(wanted.width)
        pixels = np.zeros((len(self.bands), height, width), dtype=np.float32)
        valid = np.zeros(pixels.shape, dtype=np.bool_)
        inside = clip_window(wanted, self.height, self.width)
        if inside.height and inside.width:
            top, left = inside.row_off - wanted.row_off, inside.col_off - wanted.col_off
            rows, columns = Window(left, top, inside.width, inside.height).toslices()
            for file, positions in zip(self._files, self._positions, strict=True):
                pixels[positions, rows, columns], valid[positions, rows, columns] = file.read(
                    inside
                )
        place = self._grid.window(wanted)
        image = RasterImage(pixels, valid, self.bands, place.transform, place.crs)
        try:
            check_physical(image)
        except InputError as error:
            names = ", ".join(str(file.path) for file in self._files)
            raise InputError(f"{names}: {error}") from error
        return image

    def close(self) -> None:
        """Close the files."""
        self._closing.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def open_raster(
    sources: Sources,
    *,
    sensor: Sensors | None = None,
    bands: Sequence[str] | None = None,
    drop_bands: Sequence[str] | None = None,
    layers: Mapping[str, Sequence[str]] | None = None,
    gsd: float | None = None,
    processing_baseline: str | None = None,
    scale: Number | None = None,
    offset: Number | None = None,
    same_grid: bool = False,
) -> Raster:
    """Open one or several files as one stack of bands; no pixel is read yet.

    Which band a layer is comes from what the file says: the tag that `write_raster` leaves, the
    layers' descriptions (`B04`, `red`, `665 nm`), the end of the file's name (`..._B04.jp2`,
    `VV.tif`), the colours of a PNG or JPEG. Only files that say nothing take the names in `bands`,
    in file order. Layers that the sensor does not know, in a file that names its layers, are left
    out, and so are files without a known band in a folder of others.

    Files of different resolution are stacked on the finest grid: upsampling is bilinear,
    downsampling averages, and a pixel is valid where any is that it is mixed from. Files without
    CRS are stacked pixel by pixel when their sizes are equal.

    Stored numbers become physical by `stored * scale + offset`. The numbers come from `scale` and
    `offset` here; else from the file where it declares its own; else from the sensor. A pixel is
    invalid where it is NaN or infinite, the sensor's or the file's nodata, or masked out by the
    file.

    Args:
        sources: A file (GeoTIFF, JPEG 2000, PNG, JPEG), a folder of files, or a list of them.
        sensor: Name in the catalogue, path of a sensor's YAML file, a `Sensor`, or a list where
            several sensors are stacked. Not needed for files written by `write_raster`.
        bands: Names of the layers of files that say nothing of themselves, in file order, `"-"` for
            a layer to leave out. For files that name their bands: which of them to read, in this
            order.
        drop_bands: Which of the bands not to read.
        layers: Names of the layers of files that say nothing of themselves, in order, by name of
            the file (`s2.tif`), where not all files are alike; `bands` then is which to read.
        gsd: Pixel size wanted, in metres.
        processing_baseline: Of a Sentinel-2 product (`"05.09"`); found in the file's tags or the
            product's name (`_N0509_`) if not given.
        scale: Replaces both scale and offset of the file or sensor; a number, or numbers by band
            name.
        offset: Goes with `scale` (0 if not given), or replaces the offset alone.
        same_grid: All files have the pixel grid of the first, whatever they say: for files that
            lost their georeference or carry a wrong one.

    Raises:
        InputError: If a file cannot be read, its bands cannot be told, a band is there twice, or
            the files do not lie on the same ground.
    """
    groups = expand_sources(sources)
    with ExitStack() as closing:
        datasets: dict[Path, DatasetReader] = {}
        for path in itertools.chain.from_iterable(groups):
            datasets[path] = open_dataset(path)
            closing.callback(datasets[path].close)
        sensors = load_sensors(sensor, processing_baseline, datasets)
        chosen, order = choose_layers(
            groups, datasets, sensors, bands, drop_bands or (), layers or {}
        )
        names = [channel.name for channel in order]
        check_band_names(scale, names, "scale")
        check_band_names(offset, names, "offset")
        grid, own_grids = common_grid(
            {path: Grid.of(datasets[path]) for path in chosen}, gsd=gsd, same_grid=same_grid
        )
        files = []
        for path, found in chosen.items():
            scaled = with_scaling(found, datasets[path], scale, offset)
            files.append(LayerReader(path, datasets[path], own_grids[path], grid, scaled))
            closing.callback(files[-1].close)
        return Raster(files, order, grid, closing.pop_all())


def _whole_pixels(window: Window) -> Window:
    row, column = math.floor(window.row_off), math.floor(window.col_off)
    height = math.ceil(window.row_off + window.height) - row
    width = math.ceil(window.col_off + window.width) - column
    return Window(column, row, width, height)


def read_raster(
    sources: Sources, *, window: Window | None = None, **options: Unpack[ReadOptions]
) -> RasterImage:
    """Open files with `open_raster`'s options, read a window (or everything), and close them."""
    with open_raster(sources, **options) as raster:
        return raster.read(window)
