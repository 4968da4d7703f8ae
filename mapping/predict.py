"""A scene to a map with one specialist, in memory bounded by the window."""

import time
import warnings
from pathlib import Path
from typing import Unpack

import rasterio
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from mapping._counts import LayerCounts
from mapping._outputs import Sources, check_target, choose_paths, open_map_files
from mapping._overview import Overview
from mapping._sweep import Sweep
from mapping.backends import Backend, TorchBackend
from mapping.picture import PANEL_PIXELS, draw_map
from mapping.result import MapResult
from mapping.windows import plan_windows
from rasters import Raster, open_raster
from rasters.picture import picture_bands
from rasters.read import ReadOptions
from sensors import BandPlan, InputError
from specialists.model import Specialist
from specialists.spec import SpecialistSpec

_GDAL_CACHE_BYTES = 128 * 2**20  # GDAL's default grows with the machine: 5 % of its memory
_GSD_TOLERANCE = 1.5  # beyond it, shapes and textures are of another size than trained on


def predict_map(
    scene: Sources,
    specialist: Specialist,
    out: str | Path,
    *,
    probabilities: bool = False,
    window: int | None = None,
    overlap: float | None = None,
    batch_size: int = 8,
    picture: str | Path | None = None,
    backend: Backend | None = None,
    progress: bool = True,
    **reading: Unpack[ReadOptions],
) -> MapResult:
    """Map a georeferenced scene. The map keeps the scene's grid, its CRS and its nodata.

    Per-pixel specialists (semantic segmentation, regression per pixel) run on overlapping windows
    that are blended smoothly. A scene specialist (scene classification, regression by scene) gives
    one answer for a whole chip: a chip slides over the scene a quarter of its side at a time, and
    every pixel gets the weighted mean of the chips that show it. Such a map is coarse: what is much
    smaller than a chip does not show.

    A map of classes is one band of class numbers with names and colours, 255 where the scene has no
    data. A map of targets (regression) has one float32 band a target, NaN where the scene has no
    data. A pixel has data where the scene holds all the bands that the specialist needs.

    Args:
        scene: A raster file, several that together hold the bands, or a folder of them.
        specialist: A trained specialist.
        out: The map to write, a Cloud-Optimized GeoTIFF; an existing one is replaced at the end.
        probabilities: Write the probability of every class, one float32 band each, to
            `<out>_probabilities.tif` too. Multi-label specialists have no single class a pixel: for
            them it must be set, and `out` holds the probabilities.
        window: Side of a window in pixels; None takes the size the specialist was trained at.
        overlap: Fraction that neighbouring windows share; None takes 0.5, for sliding chips 0.75.
        batch_size: Windows run at once.
        picture: Draw the scene beside its map here (PNG).
        backend: What runs the network; None runs the specialist itself.
        progress: Show a progress bar on standard error.
        **reading: What the scene holds, as for `open_raster`: `sensor`, `bands`,
            `processing_baseline`, ... With `gsd` the scene is resampled first
            (`specialist.spec.gsd` fits best), and the map has the resampled grid.

    Raises:
        MissingBandsError: If the scene lacks a band that the specialist needs.
        InputError: If the scene cannot be read, its numbers are plainly unscaled, or an option does
            not fit.
    """
    spec, out = specialist.spec, Path(out)
    check_target(out, scene, (".tif", ".tiff"))
    if picture:
        check_target(Path(picture), scene, (".png", ".jpg", ".pdf", ".svg"))
    classes_path, layers_path = choose_paths(out, spec, probabilities=probabilities)
    if batch_size < 1:
        raise InputError(f"batch size {batch_size} is below 1")
    if window is None:
        window = spec.chip_size
    if overlap is None:
        overlap = 0.5 if spec.is_per_pixel else 0.75
    started = time.monotonic()
    counts = LayerCounts(spec)
    with (
        rasterio.Env(GDAL_CACHEMAX=_GDAL_CACHE_BYTES),
        open_raster(scene, **reading) as raster,
    ):
        BandPlan.match(spec.bands, raster.bands).require()
        _warn_about_place(raster, spec)
        plan = plan_windows(raster.height, raster.width, window, overlap)
        sweep = Sweep(raster, spec.bands, len(spec.classes), plan, batch_size)
        overview = Overview(raster, picture_bands(raster.bands), PANEL_PIXELS) if picture else None
        with (
            open_map_files(spec, raster, classes_path, layers_path) as files,
            _bar(progress) as bar,
        ):
            task = bar.add_task("mapping", total=sweep.windows)
            for rows in sweep.rows(
                backend or TorchBackend(specialist), advance=lambda n: bar.advance(task, n)
            ):
                files.write(rows)
                counts.add(rows)
                if overview:
                    overview.add(rows)
    result = MapResult(
        path=out,
        probabilities_path=layers_path if probabilities else None,
        picture_path=Path(picture) if picture else None,
        pixels=counts.pixels,
        nodata_pixels=raster.height * raster.width - counts.pixels,
        pixel_area=_pixel_area(raster),
        shares=counts.shares,
        ranges=counts.ranges,
        windows=len(plan),
        seconds=time.monotonic() - started,
    )
    if not counts.pixels:
        needed = ", ".join(band.name for band in spec.bands)
        warnings.warn(
            f"the map is empty: no pixel of the scene has data in all of {needed}", stacklevel=2
        )
    if picture and overview:
        draw_map(picture, out, overview.image, names=spec.classes, shares=counts.shares)
    return result


def _warn_about_place(raster: Raster, spec: SpecialistSpec) -> None:
    if raster.gsd is None:
        warnings.warn("the scene has no CRS, so the map has none either", stacklevel=3)
    elif not 1 / _GSD_TOLERANCE <= raster.gsd / spec.gsd <= _GSD_TOLERANCE:
        warnings.warn(
            f"the scene has pixels of {raster.gsd:.3g} m, the specialist was trained on "
            f"{spec.gsd:.3g} m: to it, everything looks larger or smaller than it is; "
            f"gsd={spec.gsd:g} (--gsd {spec.gsd:g}) resamples the scene first",
            stacklevel=3,
        )


def _pixel_area(raster: Raster) -> float | None:
    """Square metres that a pixel covers in the plane of its CRS; None for degrees or no CRS."""
    if raster.crs is None or not raster.crs.is_projected:
        return None
    _, metres = raster.crs.linear_units_factor
    return abs(float(raster.transform.determinant)) * float(metres) ** 2


def _bar(visible: bool) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("windows"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=not visible,
    )
