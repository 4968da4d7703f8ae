"""Files beside a class map that make GIS software show class names.

A GeoTIFF has a place for colours but none for class names. GDAL keeps them in `<file>.aux.xml`
(category names and an attribute table), QGIS reads a style from `<stem>.qml` when it opens the
layer.
"""

from collections.abc import Sequence
from pathlib import Path
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from rasters._colors import Color

# Column types and usages of GDAL's attribute table (gdal.h: GDALRATFieldType, GDALRATFieldUsage).
_INTEGER, _STRING = "0", "2"
_COLUMNS = (
    ("Value", _INTEGER, "5"),
    ("Class", _STRING, "2"),
    ("Red", _INTEGER, "6"),
    ("Green", _INTEGER, "7"),
    ("Blue", _INTEGER, "8"),
)


def sidecar_paths(path: Path) -> tuple[Path, Path]:
    """Where GDAL's and QGIS's sidecars of a raster lie."""
    return path.with_name(path.name + ".aux.xml"), path.with_suffix(".qml")


def gdal_sidecar(class_names: Sequence[str], colors: Sequence[Color]) -> bytes:
    """GDAL's auxiliary XML with category names and an attribute table."""
    root = Element("PAMDataset")
    band = SubElement(root, "PAMRasterBand", band="1")
    categories = SubElement(band, "CategoryNames")
    for name in class_names:
        SubElement(categories, "Category").text = name
    table = SubElement(band, "GDALRasterAttributeTable", tableType="thematic")
    for index, (title, kind, usage) in enumerate(_COLUMNS):
        column = SubElement(table, "FieldDefn", index=str(index))
        SubElement(column, "Name").text = title
        SubElement(column, "Type").text = kind
        SubElement(column, "Usage").text = usage
    for index, (name, color) in enumerate(zip(class_names, colors, strict=True)):
        row = SubElement(table, "Row", index=str(index))
        for value in (index, name, *color):
            SubElement(row, "F").text = str(value)
    return _document(root)


def qgis_style(class_names: Sequence[str], colors: Sequence[Color]) -> bytes:
    """QGIS layer style: one coloured and named entry a class."""
    root = Element("qgis", version="3.22.0")
    pipe = SubElement(root, "pipe")
    renderer = SubElement(
        pipe, "rasterrenderer", type="paletted", band="1", opacity="1", alphaBand="-1"
    )
    palette = SubElement(renderer, "colorPalette")
    for index, (name, color) in enumerate(zip(class_names, colors, strict=True)):
        code = "#{:02x}{:02x}{:02x}".format(*color)
        SubElement(palette, "paletteEntry", value=str(index), color=code, alpha="255", label=name)
    return b"<!DOCTYPE qgis>\n" + _document(root)


def _document(root: Element) -> bytes:
    indent(root)
    return tostring(root) + b"\n"
