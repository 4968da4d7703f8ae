"""A scene shrunk to a picture's size while it is mapped: a picture costs no second reading.

C: bands of the picture. S: bands of the scene. H, W: height and width in pixels.
"""

import math
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray

from mapping._sweep import MapRows
from rasters import Raster, RasterImage
from sensors import BandPlan, Channel


class Overview:
    """Block means of a few bands of a scene.

    Args:
        raster: The scene.
        bands: What to keep of it.
        side: Longest side of the overview in pixels, at most.
    """

    def __init__(self, raster: Raster, bands: tuple[Channel, ...], side: int) -> None:
        self._bands = bands
        self._plan = BandPlan.match(bands, raster.bands).require()
        self._factor = math.ceil(max(raster.height, raster.width) / side)
        self._transform, self._crs = raster.transform, raster.crs
        shape = (math.ceil(raster.height / self._factor), math.ceil(raster.width / self._factor))
        self._sum_CHW = np.zeros((len(bands), *shape), np.float64)
        self._count_CHW = np.zeros((len(bands), *shape), np.int64)

    def add(self, rows: MapRows) -> None:
        """Take in one part of the scene."""
        valid_CHW = self._plan.apply_valid(rows.scene_valid_SHW)
        pixels_CHW = np.where(valid_CHW, self._plan.apply(rows.scene_SHW), 0)
        self._accumulate(self._sum_CHW, pixels_CHW, rows)
        self._accumulate(self._count_CHW, valid_CHW, rows)

    def _accumulate(self, into_CHW: NDArray[Any], part_CHW: NDArray[Any], rows: MapRows) -> None:
        for axis, start in ((1, rows.row), (2, rows.column)):
            blocks = np.arange(start, start + part_CHW.shape[axis]) // self._factor
            firsts = np.flatnonzero(np.diff(blocks, prepend=-1))
            part_CHW = np.add.reduceat(part_CHW, firsts, axis=axis, dtype=into_CHW.dtype)
        top, left = rows.row // self._factor, rows.column // self._factor
        height, width = part_CHW.shape[1:]
        into_CHW[:, top : top + height, left : left + width] += part_CHW

    @property
    def image(self) -> RasterImage:
        """The overview so far; a block without any valid pixel is invalid."""
        valid_CHW = self._count_CHW > 0
        pixels_CHW = self._sum_CHW / np.maximum(self._count_CHW, 1)
        return RasterImage(
            pixels=pixels_CHW.astype(np.float32),
            valid=valid_CHW,
            bands=self._bands,
            transform=self._transform * Affine.scale(self._factor),
            crs=self._crs,
        )
