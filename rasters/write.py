"""Images and class maps as Cloud-Optimized GeoTIFF: whole or by window, complete or not at all."""

import json
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.shutil import copy as copy_raster
from rasterio.windows import Window

from rasters._bands import BANDS_TAG
from rasters._colors import Color, class_colors
from rasters._files import writing
from rasters._masks import CLASSES_TAG, IGNORE_INDEX
from rasters._sidecars import gdal_sidecar, qgis_style, sidecar_paths
from rasters.image import RasterImage
from sensors.bands import channel_to_dict
from sensors.errors import InputError

__all__ = ["RasterWriter", "class_colors", "write_class_map", "write_raster"]

BLOCK = 512  # GDAL's own default for a COG


def _block_size(height: int, width: int) -> int:
    """Side of the tiles: a small raster of many layers is not padded to a large tile each."""
    return min(BLOCK, 16 * -(-max(height, width) // 16))


class RasterWriter:
    """Write a Cloud-Optimized GeoTIFF window by window, in any order and in bounded memory.

    Windows go to a tiled file in a temporary folder beside the target. When the `with` block ends
    without error, that becomes a COG which replaces the target in one step; after an error the
    target is as it was before.

    A raster with `class_names` is a class map: a palette and the names as a tag lie in the file
    itself; the names go to `<path>.aux.xml` for GDAL and to `<stem>.qml` for QGIS as well, because
    a GeoTIFF has no place of its own for them.

    Args:
        path: File to write, `.tif`.
        count, height, width: Shape.
        dtype: numpy name of the stored numbers.
        transform, crs: Where it lies, written exactly as given; `crs` may be None.
        nodata: Stored number for "nothing here"; windows never written hold it.
        descriptions: Name of every layer.
        class_names: Classes 0..K-1 of a uint8 class map with one layer.
        colors: Red, green, blue of every class; `class_colors` if not given.
        tags: Further tags of the file.

    Raises:
        InputError: If the folder does not exist, or classes do not fit the layers.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        count: int,
        dtype: str,
        height: int,
        width: int,
        transform: Affine,
        crs: CRS | None,
        nodata: float | None = None,
        descriptions: Sequence[str] | None = None,
        class_names: Sequence[str] | None = None,
        colors: Sequence[Color] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        self.path = Path(path)
        if not self.path.parent.is_dir():
            raise InputError(f"{self.path}: the folder {self.path.parent} does not exist")
        if class_names is not None and (count != 1 or dtype != "uint8" or len(class_names) > 255):
            raise InputError(
                f"{self.path}: a class map has one uint8 layer and at most 255 classes, got "
                f"{count} layers of {dtype} and {len(class_names)} classes"
            )
        self._class_names = None if class_names is None else list(class_names)
        self._colors = list(colors or class_colors(class_names or ()))
        self._tags = dict(tags or {})
        if self._class_names is not None:
            self._tags[CLASSES_TAG] = json.dumps(self._class_names)
        self._descriptions = descriptions
        self._dtype = np.dtype(dtype)
        self._profile: dict[str, Any] = {
            "driver": "GTiff",
            "count": count,
            "dtype": dtype,
            "height": height,
            "width": width,
            "transform": transform,
            "crs": crs,
            "nodata": nodata,
            "tiled": True,
            "blockxsize": _block_size(height, width),
            "blockysize": _block_size(height, width),
            "bigtiff": "IF_SAFER",
            "sparse_ok": True,
        }

    def __enter__(self) -> Self:
        with ExitStack() as opening, writing(self.path):
            folder = tempfile.TemporaryDirectory(dir=self.path.parent, prefix=".writing-")
            self._folder = Path(opening.enter_context(folder))
            self._dataset = rasterio.open(self._folder / "windows.tif", "w", **self._profile)
            opening.callback(self._dataset.close)
            if self._class_names is not None:
                self._dataset.write_colormap(1, dict(enumerate(self._colors)))
            for number, text in enumerate(self._descriptions or (), start=1):
                self._dataset.set_band_description(number, text)
            self._dataset.update_tags(**self._tags)
            self._open = opening.pop_all()
        return self

    def write(self, array_CHW: NDArray[Any], window: Window | None = None) -> None:
        """Write a window, or everything.

        Args:
            array_CHW: `(C, H, W)` of the raster's dtype.
            window: Rows and columns that the array fills.

        Raises:
            InputError: If the dtype is another, or the disk is full.
        """
        if array_CHW.dtype != self._dtype:
            raise InputError(
                f"{self.path}: got an array of {array_CHW.dtype}, expected {self._dtype}"
            )
        with writing(self.path):
            self._dataset.write(array_CHW, window=window)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._open:
            if kind is None:
                with writing(self.path):
                    self._dataset.close()
                    self._finish()

    def _finish(self) -> None:
        categorical = self._class_names is not None
        result = self._folder / "result.tif"
        copy_raster(
            self._folder / "windows.tif",
            result,
            driver="COG",
            blocksize=self._profile["blockxsize"],
            compress="DEFLATE",
            predictor="NO" if categorical else "YES",
            overview_resampling="MODE" if categorical else "AVERAGE",
            bigtiff="IF_SAFER",
        )
        sidecars = self._sidecars()
        for sidecar in sidecar_paths(self.path):
            # One left by an earlier raster of this name would describe the new one wrongly.
            sidecar.unlink(missing_ok=True)
        result.replace(self.path)
        for sidecar, content in sidecars.items():
            draft = self._folder / "sidecar"
            draft.write_bytes(content)
            draft.replace(sidecar)

    def _sidecars(self) -> dict[Path, bytes]:
        if self._class_names is None:
            return {}
        colors = self._colors[: len(self._class_names)]
        contents = (
            gdal_sidecar(self._class_names, colors),
            qgis_style(self._class_names, colors),
        )
        return dict(zip(sidecar_paths(self.path), contents, strict=True))


def write_raster(
    path: str | Path, image: RasterImage, *, tags: Mapping[str, str] | None = None
) -> None:
    """Write an image as a COG that describes itself: `open_raster` reads it back without a sensor.

    Pixels are float32 in physical units, invalid ones NaN; layers carry the bands' names, and the
    tag `TERRAGUILD_BANDS` (JSON) all that is known of each band; `tags` are added as they are.
    """
    stored = [
        channel_to_dict(replace(band, scale=1.0, offset=0.0, nodata=None)) for band in image.bands
    ]
    with RasterWriter(
        path,
        count=len(image.bands),
        dtype="float32",
        height=image.height,
        width=image.width,
        transform=image.transform,
        crs=image.crs,
        nodata=np.nan,
        descriptions=[band.name for band in image.bands],
        tags={**(tags or {}), BANDS_TAG: json.dumps(stored)},
    ) as writer:
        writer.write(np.where(image.valid, image.pixels, np.float32(np.nan)))


def write_class_map(
    path: str | Path,
    classes_HW: NDArray[np.uint8],
    *,
    class_names: Sequence[str],
    transform: Affine,
    crs: CRS | None,
    colors: Sequence[Color] | None = None,
    valid_HW: NDArray[np.bool_] | None = None,
    tags: Mapping[str, str] | None = None,
) -> None:
    """Write a map of class indices as a COG with colours, class names and nodata 255.

    Args:
        path: File to write; see `RasterWriter` for the two small files beside it.
        classes_HW: uint8 index into `class_names`, or 255 for no class.
        class_names: Classes 0..K-1.
        transform: From column and row to coordinates.
        crs: Coordinate reference system, or None.
        colors: Red, green, blue of every class; `class_colors` if not given.
        valid_HW: Where there is a class; elsewhere 255 is written.
        tags: Further tags of the file.

    Raises:
        InputError: If an index has no class.
    """
    classes = classes_HW if valid_HW is None else np.where(valid_HW, classes_HW, IGNORE_INDEX)
    outside = (classes >= len(class_names)) & (classes != IGNORE_INDEX)
    if outside.any():
        raise InputError(
            f"{path}: class {classes[outside].min()} is in the map, but there are "
            f"{len(class_names)} "
            f"class names (0 to {len(class_names) - 1}; {IGNORE_INDEX} is no data)"
        )
    height, width = classes.shape
    with RasterWriter(
        path,
        count=1,
        dtype="uint8",
        height=height,
        width=width,
        transform=transform,
        crs=crs,
        nodata=IGNORE_INDEX,
        class_names=class_names,
        colors=colors,
        tags=tags,
    ) as writer:
        writer.write(classes[None].astype(np.uint8))
