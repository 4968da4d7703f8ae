"""Cutting large images into tiles."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from rasterio.windows import Window

from rasters._grid import clip_window
from rasters._masks import IGNORE_INDEX, MaskReader
from rasters._samples import Sample
from rasters.read import ReadOptions, open_raster
from sensors.errors import InputError


def labelled_tiles(
    samples: Sequence[Sample], masks: MaskReader, tile: int, stride: int, reading: ReadOptions
) -> list[Sample]:
    """Tiles of every image that hold a label.

    Raises:
        InputError: If none does.
    """
    tiles = []
    for sample, mask in [(sample, sample.mask) for sample in samples if sample.mask is not None]:
        with open_raster(sample.sources, **reading) as raster:
            grid = raster.grid
        labels = masks.read(mask, grid, Window(0, 0, grid.width, grid.height), sample.id)
        empty_HW = np.isnan(labels).all(0) if masks.values else labels == IGNORE_INDEX
        for candidate, window in _cut(sample, grid.height, grid.width, tile, stride):
            rows, columns = clip_window(window, grid.height, grid.width).toslices()
            if not empty_HW[rows, columns].all():
                tiles.append(candidate)
    if not tiles:
        raise InputError(
            f"{samples[0].id}: no mask holds a label of the classes {', '.join(masks.classes)}"
        )
    return tiles


def all_tiles(
    samples: Sequence[Sample], tile: int, stride: int, reading: ReadOptions
) -> list[Sample]:
    """Tiles that cover every image; only the files' headers are read."""
    tiles = []
    for sample in samples:
        with open_raster(sample.sources, **reading) as raster:
            height, width = raster.height, raster.width
        tiles += [candidate for candidate, _ in _cut(sample, height, width, tile, stride)]
    return tiles


def _cut(
    sample: Sample, height: int, width: int, tile: int, stride: int
) -> list[tuple[Sample, Window]]:
    """Square windows that cover an image; the last of a row or column may reach beyond it."""
    windows = [
        Window(column, row, tile, tile)
        for row in range(0, max(1, height - tile + stride), stride)
        for column in range(0, max(1, width - tile + stride), stride)
    ]
    return [
        (replace(sample, id=f"{sample.id}[{_rows_and_columns(window)}]", window=window), window)
        for window in windows
    ]


def _rows_and_columns(window: Window) -> str:
    return ",".join(f"{part.start}:{part.stop}" for part in window.toslices())
