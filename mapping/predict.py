"""A scene to a map with one specialist or an ensemble, in memory bounded by the window."""

import time
import warnings
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Unpack

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
from mapping._ensemble import bands_to_read, bands_to_take, name_choices
from mapping._outputs import Sources, check_target, choose_paths, open_map_files
from mapping._overview import Overview
from mapping._sweep import Choose, Sweep
from mapping.backends import AnyBandsBackend, Backend, choose_backend
from mapping.picture import PANEL_PIXELS, draw_map
from mapping.result import MapResult
from mapping.windows import plan_windows
from rasters import Raster, open_raster
from rasters.picture import picture_bands
from rasters.read import ReadOptions
from router.task_ensemble import TaskEnsemble
from sensors import BandPlan, Channel, InputError
from specialists.compiled import CompiledSpecialist
from specialists.model import Specialist
from specialists.task_spec import TaskSpec

_GDAL_CACHE_BYTES = 128 * 2**20  # GDAL's default grows with the machine: 5 % of its memory
_GSD_TOLERANCE = 1.5  # beyond it, shapes and textures are of another size than trained on


def predict_map(
    scene: Sources,
    specialist: Specialist | CompiledSpecialist | TaskEnsemble,
    out: str | Path,
    *,
    probabilities: bool = False,
    window: int | None = None,
    overlap: float | None = None,
    batch_size: int = 8,
    picture: str | Path | None = None,
    members: str | Path | None = None,
    backend: Backend | AnyBandsBackend | None = None,
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

    An ensemble takes those of its bands that the scene has, with a warning where it has not all of
    them; a pixel has data where the scene holds any. Members are chosen anew for every window, by
    the bands that have data in it. So does a specialist with a wavelength-conditioned stem, and it
    takes another sensor's bands as what they are.

    Args:
        scene: A raster file, several that together hold the bands, or a folder of them.
        specialist: A trained specialist, a compiled one, or an ensemble with a head.
        out: The map to write, a Cloud-Optimized GeoTIFF; an existing one is replaced at the end.
        probabilities: Write the probability of every class, one float32 band each, to
            `<out>_probabilities.tif` too. Multi-label specialists have no single class a pixel: for
            them it must be set, and `out` holds the probabilities.
        window: Side of a window in pixels; None takes the size the specialist was trained at.
        overlap: Fraction that neighbouring windows share; None takes 0.5, for sliding chips 0.75.
        batch_size: Windows run at once.
        picture: Draw the scene beside its map here (PNG).
        members: For an ensemble, write here a map of the member with the largest weight: that of
            the window which counts most at a pixel. Where no member can run, it is the trunk alone.
        backend: What runs the network: a `Backend`, or an `AnyBandsBackend` for an ensemble and for
            a wavelength-conditioned stem; None runs the network itself.
        progress: Show a progress bar on standard error.
        **reading: What the scene holds, as for `open_raster`: `sensor`, `bands`,
            `processing_baseline`, ... With `gsd` the scene is resampled first
            (`specialist.spec.gsd` fits best), and the map has the resampled grid.

    Raises:
        MissingBandsError: If the scene lacks a band that the specialist needs, or all that the
            ensemble could take.
        InputError: If the scene cannot be read, its numbers are plainly unscaled, or an option does
            not fit.
    """
    spec, out = specialist.spec, Path(out)
    check_target(out, scene, (".tif", ".tiff"))
    if picture:
        check_target(Path(picture), scene, (".png", ".jpg", ".pdf", ".svg"))
    _check_members(members, specialist, scene)
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
        engine = _prepare(specialist, backend, raster)
        _warn_about_place(raster, spec)
        plan = plan_windows(raster.height, raster.width, window, overlap)
        sweep = Sweep(
            raster, engine.bands, len(spec.classes), plan, batch_size, any_band=engine.any_band
        )
        overview = Overview(raster, picture_bands(raster.bands), PANEL_PIXELS) if picture else None
        with (
            open_map_files(
                spec,
                raster,
                classes_path,
                layers_path,
                Path(members) if members else None,
                engine.choices,
            ) as files,
            _bar(progress) as bar,
        ):
            task = bar.add_task("mapping", total=sweep.windows)
            for rows in sweep.rows(
                engine.run, lambda n: bar.advance(task, n), engine.choose if members else None
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
        members_path=Path(members) if members else None,
    )
    if not counts.pixels:
        needed = ", ".join(band.name for band in engine.bands)
        share = "any" if engine.any_band else "all"
        warnings.warn(
            f"the map is empty: no pixel of the scene has data in {share} of {needed}", stacklevel=2
        )
    if picture and overview:
        draw_map(picture, out, overview.image, names=spec.classes, shares=counts.shares)
    return result


class _Engine(NamedTuple):
    """What runs on a scene: by which bands, and whether a pixel needs all of them."""

    run: Backend
    bands: tuple[Channel, ...]
    any_band: bool = False
    choose: Choose | None = None
    choices: tuple[str, ...] = ()


def _prepare(
    network: Specialist | CompiledSpecialist | TaskEnsemble,
    backend: Backend | AnyBandsBackend | None,
    raster: Raster,
) -> _Engine:
    if isinstance(network, TaskEnsemble):
        bands = bands_to_read(network, raster.bands)
        taking: Any = backend or choose_backend(network)
        return _Engine(
            run=partial(taking, bands=bands),
            bands=bands,
            any_band=True,
            choose=partial(taking.choose, bands=bands),
            choices=name_choices(network.ensemble),
        )
    if isinstance(network, Specialist) and network.spec.takes_any_known:
        bands = bands_to_take(network, raster.bands)
        taking = backend or choose_backend(network)
        return _Engine(run=partial(taking, bands=bands), bands=bands, any_band=True)
    BandPlan.match(network.spec.bands, raster.bands).require()
    own: Any = backend or choose_backend(network)
    return _Engine(run=own, bands=network.spec.bands)


def _check_members(
    members: str | Path | None,
    network: Specialist | CompiledSpecialist | TaskEnsemble,
    scene: Sources,
) -> None:
    if members is None:
        return
    if not isinstance(network, TaskEnsemble):
        raise InputError(
            f"{members}: a specialist has no members; only an ensemble's map has one of them"
        )
    check_target(Path(members), scene, (".tif", ".tiff"))


def _warn_about_place(raster: Raster, spec: TaskSpec) -> None:
    if raster.gsd is None:
        warnings.warn("the scene has no CRS, so the map has none either", stacklevel=3)
    elif not 1 / _GSD_TOLERANCE <= raster.gsd / spec.gsd <= _GSD_TOLERANCE:
        warnings.warn(
            f"the scene has pixels of {raster.gsd:.3g} m, the network was trained on "
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
