"""Check a class map against reference polygons: how many pixels and whole polygons agree.

    python benchmarks/map_against_polygons.py map.tif polygons.gpkg --field fclass \
        --match forest=Forest water=River,SeaLake residential=Residential,Industrial

Each `--match` names a polygon class and the map classes that count as right for it; polygons of
other classes are left out. A pixel belongs to a polygon if its centre lies inside; where polygons
of different classes overlap the pixel is left out. Needs geopandas:
`pip install 'terraguild[vector]'`.
"""

import argparse
import json
from pathlib import Path

import geopandas
import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.features import rasterize
from rich.console import Console
from rich.table import Table

Confusion = dict[str, dict[str, int]]


def burn(polygons: geopandas.GeoDataFrame, source: rasterio.DatasetReader) -> NDArray[np.int32]:
    """Row number + 1 of the polygon that a pixel lies in, 0 outside, (H, W)."""
    shapes = [(shape, row + 1) for row, shape in enumerate(polygons.geometry)]
    return np.asarray(
        rasterize(shapes, out_shape=source.shape, transform=source.transform, dtype="int32")
    )


def compare(
    map_path: Path, polygon_path: Path, field: str, match: dict[str, set[str]]
) -> tuple[Confusion, Confusion]:
    """Counts by polygon and map class, of pixels and of polygons by their most frequent class."""
    with rasterio.open(map_path) as source:
        names: list[str] = json.loads(source.tags()["TERRAGUILD_CLASSES"])
        classes_HW = source.read(1)
        polygons = geopandas.read_file(polygon_path).to_crs(source.crs)
        polygons = polygons[polygons[field].isin(match)].reset_index(drop=True)
        owner_HW = burn(polygons, source)
        overlap_HW = np.zeros(source.shape, bool)
        for wanted in match:
            others = polygons[polygons[field] != wanted]
            own = polygons[polygons[field] == wanted]
            overlap_HW |= (burn(others, source) > 0) & (burn(own, source) > 0)
    counted = (owner_HW > 0) & ~overlap_HW & (classes_HW < len(names))
    pixels: Confusion = {wanted: dict.fromkeys(names, 0) for wanted in match}
    whole: Confusion = {wanted: dict.fromkeys(names, 0) for wanted in match}
    table = np.zeros((len(polygons) + 1, len(names)), np.int64)
    np.add.at(table, (owner_HW[counted], classes_HW[counted]), 1)
    for wanted, counts in zip(polygons[field], table[1:], strict=True):
        if counts.sum():
            whole[wanted][names[counts.argmax()]] += 1
        for name, count in zip(names, counts, strict=True):
            pixels[wanted][name] += int(count)
    return pixels, whole


def summarise(confusion: Confusion, match: dict[str, set[str]]) -> dict[str, float]:
    """Share that is right by class, over all, and as the mean over classes."""
    totals = {wanted: sum(counts.values()) for wanted, counts in confusion.items()}
    right = {
        wanted: sum(count for name, count in confusion[wanted].items() if name in match[wanted])
        for wanted in match
    }
    shares = {wanted: right[wanted] / totals[wanted] for wanted in match if totals[wanted]}
    return shares | {
        "all": sum(right.values()) / max(1, sum(totals.values())),
        "mean of classes": float(np.mean(list(shares.values()))),
    }


def main() -> None:
    """Read the arguments, compare, print a table and JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("map", type=Path)
    parser.add_argument("polygons", type=Path)
    parser.add_argument("--field", required=True, help="column that holds a polygon's class")
    parser.add_argument("--match", nargs="+", required=True, metavar="POLYGON=MAP[,MAP...]")
    arguments = parser.parse_args()
    match = {
        wanted: set(names.split(","))
        for wanted, names in (entry.split("=", 1) for entry in arguments.match)
    }
    pixels, whole = compare(arguments.map, arguments.polygons, arguments.field, match)
    by_pixel, by_polygon = summarise(pixels, match), summarise(whole, match)
    table = Table("polygon class", "map classes that count", "pixels", "right", "polygons", "right")
    for wanted, names in match.items():
        table.add_row(
            wanted,
            ", ".join(sorted(names)),
            str(sum(pixels[wanted].values())),
            f"{by_pixel.get(wanted, float('nan')):.3f}",
            str(sum(whole[wanted].values())),
            f"{by_polygon.get(wanted, float('nan')):.3f}",
        )
    for name in ("all", "mean of classes"):
        table.add_row(name, "", "", f"{by_pixel[name]:.3f}", "", f"{by_polygon[name]:.3f}")
    Console().print(table)
    print(json.dumps({"pixels": pixels, "polygons": whole, "right": by_pixel}))


if __name__ == "__main__":
    main()
