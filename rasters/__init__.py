"""Georeferenced images in and out, chip data sets, and simulated scenes."""

from rasters.chips import IGNORE_INDEX, ChipDataset
from rasters.image import RasterImage
from rasters.physical import check_physical
from rasters.read import Raster, open_raster, read_raster
from rasters.sensing import see_as
from rasters.splits import block_split, component_split, hash_split
from rasters.statistics import BandStatistics, measure_statistics
from rasters.write import RasterWriter, class_colors, write_class_map, write_raster

__all__ = [
    "IGNORE_INDEX",
    "BandStatistics",
    "ChipDataset",
    "Raster",
    "RasterImage",
    "RasterWriter",
    "block_split",
    "check_physical",
    "class_colors",
    "component_split",
    "hash_split",
    "measure_statistics",
    "open_raster",
    "read_raster",
    "see_as",
    "write_class_map",
    "write_raster",
]
