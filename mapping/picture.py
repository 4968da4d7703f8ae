"""A picture for people: the scene beside its map, with a legend and a scale bar.

C: bands of the scene. H, W: height and width of an image in pixels. N: valid pixels.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from numpy.typing import NDArray
from rasterio.enums import Resampling

from rasters import RasterImage
from rasters.picture import NODATA, render_scene
from rasters.write import class_colors

PANEL_PIXELS = 1000  # longest side of a panel: enough for print, small enough for a web page
_WIDE = 1.35  # width over height beyond which the panels stand one above the other
_LEGEND_INCHES = 1.9
_PANEL_INCHES = 5.4


def draw_map(
    path: str | Path,
    map_path: str | Path,
    scene: RasterImage,
    *,
    names: Sequence[str],
    shares: Mapping[str, float] | None = None,
) -> None:
    """Write a scene beside its map as PNG (or any format that matplotlib knows by its ending).

    Args:
        path: The picture to write.
        map_path: A map as `predict_map` writes it; of several targets the first is shown.
        scene: The same ground, no finer than the picture needs.
        names: The map's classes or targets.
        shares: Share of the map by class, for the legend; classes that do not occur are left out.
    """
    map_HW, is_classes, place = _read_map(Path(map_path))
    height, width = map_HW.shape
    wide = width > _WIDE * height
    across = _PANEL_INCHES * (1.5 if wide else 1)
    down = min(max(across * height / width, 1.5), 9)
    rows, columns = (2, 1) if wide else (1, 2)
    size = (columns * across + _LEGEND_INCHES, rows * (down + 0.35))
    figure = Figure(figsize=size, dpi=150, layout="constrained")
    left, right = figure.subplots(rows, columns)
    colors_HWC, shown = render_scene(scene)
    left.imshow(colors_HWC, interpolation="nearest")
    if scene.gsd is not None:
        _draw_scale_bar(left, scene.gsd * scene.width)
    if is_classes:
        right.imshow(_paint(map_HW, class_colors(names)), interpolation="nearest")
        _draw_legend(figure, names, shares)
    else:
        values = right.imshow(map_HW, interpolation="nearest")
        figure.colorbar(values, ax=(left, right), label=names[0], fraction=0.05, pad=0.02)
    for axes, title in ((left, f"scene: {shown}"), (right, place)):
        axes.set_title(title, fontsize=10, loc="left", color="0.25")
        axes.set(xticks=[], yticks=[], facecolor=str(NODATA))
        axes.spines[:].set_color("0.7")
    figure.savefig(path)


def _read_map(path: Path) -> tuple[np.ma.MaskedArray, bool, str]:
    """A map no larger than a panel, whether it holds classes, and its name and grid in words."""
    with rasterio.open(path) as dataset:
        shrink = math.ceil(max(dataset.shape) / PANEL_PIXELS)
        is_classes = dataset.dtypes[0] == "uint8"
        map_HW = dataset.read(
            1,
            out_shape=tuple(math.ceil(length / shrink) for length in dataset.shape),
            masked=True,
            resampling=Resampling.nearest if is_classes else Resampling.average,
        )
        place = f"{dataset.width} x {dataset.height} pixels"
        if dataset.crs is not None:
            place += f", {dataset.crs.to_string()}" if dataset.crs.to_epsg() else ""
        return map_HW, is_classes, f"{path.name}: {place}"


def _paint(
    classes_HW: NDArray[np.uint8], colors: Sequence[tuple[int, int, int]]
) -> NDArray[np.uint8]:
    table = np.full((256, 3), round(NODATA * 255), np.uint8)
    table[: len(colors)] = colors
    return table[np.ma.filled(classes_HW, 255)]


def _draw_legend(figure: Figure, names: Sequence[str], shares: Mapping[str, float] | None) -> None:
    """Classes by share, largest first; without shares all of them in their own order."""
    entries = [(name, name, color) for name, color in zip(names, class_colors(names), strict=True)]
    if shares is not None:
        entries = [(n, f"{n}  {shares[n]:.1%}", c) for n, _, c in entries if shares[n] > 0]
        entries.sort(key=lambda entry: -shares[entry[0]])
    handles = [
        Patch(facecolor=_unit(color), edgecolor="0.6", label=label) for _, label, color in entries
    ]
    figure.legend(
        handles=handles,
        loc="outside right upper",
        frameon=False,
        fontsize=10,
        handlelength=1.3,
        handleheight=1.3,
    )


def _unit(color: tuple[int, int, int]) -> tuple[float, float, float]:
    red, green, blue = color
    return red / 255, green / 255, blue / 255


def _draw_scale_bar(axes: Axes, extent: float) -> None:
    """Draw a bar of 1, 2 or 5 times a power of ten, for a picture `extent` metres wide."""
    aim = extent / 5
    power = 10.0 ** math.floor(math.log10(aim))
    length = max(step * power for step in (1, 2, 5) if step * power <= aim)
    text = f"{length / 1000:g} km" if length >= 1000 else f"{length:g} m"
    box: dict[str, Any] = {"transform": axes.transAxes, "clip_on": False}
    share = length / extent
    axes.add_patch(
        Rectangle((0.02, 0.02), share + 0.03, 0.085, color="black", alpha=0.55, lw=0, **box)
    )
    axes.add_patch(Rectangle((0.035, 0.04), share, 0.012, color="white", lw=0, **box))
    axes.text(0.035, 0.06, text, color="white", fontsize=9, va="bottom", transform=axes.transAxes)
