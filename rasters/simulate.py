"""Simulated, co-registered Sentinel-2, Sentinel-1 and EnMAP scenes with labels and clouds.

Nothing here was measured by a satellite. Reflectance comes from reference spectra
(`spectra/SOURCES.yaml` names the source of each) mixed by abundance and integrated over the bands
of the sensor catalogue; backscatter from typical values of each land cover under speckle. The
scenes are made for tests, for examples without a download, and to study sensors that see the same
ground; scores on them say nothing about real data.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS
from scipy.ndimage import gaussian_filter

from rasters._clouds import Clouds, average, draw_clouds
from rasters._fields import FloatArray, matern_field
from rasters._landscape import CLASSES, draw_landscape
from rasters._radar import observe_radar
from rasters._spectra import integrate_materials
from rasters._surface import Surface, cover_with_materials
from rasters.image import RasterImage
from rasters.write import write_class_map, write_raster
from sensors import Band, Channel, InputError, Sensor, load_sensor

SIMULATED_TAG = {"TERRAGUILD_SIMULATED": "yes"}
ENMAP_GSD = 30
# An arbitrary place on the grid of UTM zone 32 north, so that the files open on a map.
_CRS = CRS.from_epsg(32632)
_ORIGIN = (600_000.0, 5_400_000.0)

# Signal-to-noise ratio that Sentinel-2's bands have to reach at their reference radiance (ESA,
# Sentinel-2 User Handbook, 2015, table of spectral bands), and what the noise and residuals of the
# atmospheric correction leave at least, in reflectance.
_SENTINEL2_SNR = {
    "B01": 129, "B02": 154, "B03": 168, "B04": 142, "B05": 117, "B06": 89,
    "B07": 105, "B08": 174, "B8A": 72, "B09": 114, "B11": 100, "B12": 100,
}  # fmt: skip
_NOISE_FLOOR = 0.002
_HAZE = 0.004  # reflectance at 0.5 um that atmospheric correction leaves or takes too much
_OPTICS_BLUR = 5.0  # metres, standard deviation of the point-spread function of a 10 m band
_BRIGHTEST = 1.2  # reflectance above 1 occurs on bright clouds; here the detector saturates
# EnMAP's instrument specification: more than 500 at 0.495 um, more than 150 at 2.2 um.
_ENMAP_SNR = ((0.42, 0.495, 0.9, 1.3, 2.2, 2.45), (350, 500, 350, 250, 150, 80))
# EnMAP L2A delivers no data from 1.33 to 1.40 um, where water vapour leaves no signal.
_NO_SIGNAL = (1.33, 1.40)
# Water vapour absorption: centre, width (um) and optical depth on the way down and up, roughly
# those of a mid-latitude summer atmosphere. It multiplies the noise of a corrected spectrum.
_VAPOUR = (
    (0.94, 0.02, 0.7),
    (1.13, 0.025, 0.9),
    (1.38, 0.03, 4.0),
    (1.87, 0.05, 3.5),
    (2.45, 0.05, 1.0),
)


@dataclass(frozen=True)
class SimulatedScene:
    """One simulated place seen by three sensors. Simulated, not measured.

    Args:
        sentinel2: Surface reflectance, the 12 bands of Sentinel-2 L2A on the scene's grid. Bands of
            20 and 60 m are block means, repeated on the finer grid.
        sentinel1: Backscatter sigma0 in dB, VV and VH, on the scene's grid; clouds do not touch it.
        enmap: Surface reflectance, the bands of EnMAP L2A at 30 m over the same ground; the bands
            without signal are invalid. Where the scene's side is no multiple of 30 m it reaches up
            to one pixel further.
        labels_HW: uint8 index into `classes`: the land cover at each pixel's centre, under clouds
            too.
        classes: Names of the land covers.
        cloud_HW: Where a cloud covers the optical images (its thin edge included, its shadow not).
    """

    sentinel2: RasterImage
    sentinel1: RasterImage
    enmap: RasterImage
    labels_HW: NDArray[np.uint8]
    classes: tuple[str, ...]
    cloud_HW: NDArray[np.bool_]


def simulate_scene(
    seed: int, *, size: int = 256, gsd: float = 10, cloud_cover: float = 0.0
) -> SimulatedScene:
    """Simulate one scene. The same arguments give the same bits on the same machine.

    Landscape, ground, sensors and clouds draw from separate streams of the seed: another cloud
    cover changes neither the labels nor the radar image, nor the noise of the optical ones.

    Args:
        seed: Which scene, 0 or more.
        size: Height and width in pixels of the Sentinel grid, at least 16.
        gsd: Pixel size of the Sentinel grid in metres; a whole number of pixels fits into EnMAP's
            30 m.
        cloud_cover: Fraction of the scene under clouds, 0 to 1.

    Raises:
        InputError: If an argument is outside its range.
    """
    factor = round(ENMAP_GSD / gsd) if gsd > 0 else 0
    if factor < 1 or abs(factor * gsd - ENMAP_GSD) > 1e-6:
        raise InputError(
            f"gsd {gsd} m does not divide EnMAP's {ENMAP_GSD} m; give 10, or 30 / n for a whole n"
        )
    if seed < 0:
        raise InputError(f"seed {seed} is negative; give 0 or more")
    if size < 16:
        raise InputError(f"size {size} is too small for a scene; give at least 16 pixels")
    if not 0 <= cloud_cover <= 1:
        raise InputError(f"cloud_cover {cloud_cover} is not a fraction; give 0 to 1")

    # Drawn a little larger, so that every coarser pixel (30 m, 60 m) is whole; cut to size at the
    # end.
    whole = -(-size // (2 * factor)) * 2 * factor
    streams = np.random.default_rng(seed).spawn(7)
    landscape = draw_landscape(streams[0], whole, gsd)
    surface = cover_with_materials(streams[1], landscape, gsd)
    haze = _HAZE * (streams[2].normal() + 0.4 * matern_field(streams[2], whole, 1500 / gsd, 1.5))
    clouds = draw_clouds(streams[3], whole, cloud_cover, gsd)

    sentinel1_bands = load_sensor("sentinel-1-grd").select("VV", "VH")
    sentinel1 = observe_radar(streams[4], landscape, surface, gsd)
    sentinel2_bands = _optical(load_sensor("sentinel-2-l2a"))
    sentinel2 = _observe_sentinel2(streams[5], sentinel2_bands, surface, haze, clouds, gsd)
    enmap_bands = _optical(load_sensor("enmap-l2a"))
    enmap = _observe_enmap(streams[6], enmap_bands, surface, haze, clouds, factor)
    cells = -(-size // factor)
    return SimulatedScene(
        sentinel2=_place(sentinel2[:, :size, :size], sentinel2_bands, gsd),
        sentinel1=_place(sentinel1[:, :size, :size], sentinel1_bands, gsd),
        enmap=_place(enmap[:, :cells, :cells], enmap_bands, ENMAP_GSD),
        labels_HW=landscape.cover_HW[:size, :size].copy(),
        classes=CLASSES,
        cloud_HW=clouds.mask_HW[:size, :size].copy(),
    )


def write_scene(folder: str | os.PathLike[str], scene: SimulatedScene) -> dict[str, Path]:
    """Write a scene as Cloud-Optimized GeoTIFFs, each tagged TERRAGUILD_SIMULATED=yes.

    Args:
        folder: Where to write; made if it is not there.
        scene: What to write.

    Returns:
        Path of each file: `sentinel2`, `sentinel1`, `enmap` (images), `labels`, `cloud` (class
            maps).
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    names = ("sentinel2", "sentinel1", "enmap", "labels", "cloud")
    paths = {name: folder / f"simulated_{name}.tif" for name in names}
    for name in ("sentinel2", "sentinel1", "enmap"):
        write_raster(paths[name], getattr(scene, name), tags=SIMULATED_TAG)
    for name, classes_HW, class_names in (
        ("labels", scene.labels_HW, scene.classes),
        ("cloud", scene.cloud_HW.astype(np.uint8), ("clear", "cloud")),
    ):
        write_class_map(
            paths[name],
            classes_HW,
            class_names=class_names,
            transform=scene.sentinel2.transform,
            crs=scene.sentinel2.crs,
            tags=SIMULATED_TAG,
        )
    return paths


def _optical(sensor: Sensor) -> tuple[Band, ...]:
    return tuple(channel for channel in sensor.channels if isinstance(channel, Band))


def _place(pixels: FloatArray, bands: tuple[Channel, ...], gsd: float) -> RasterImage:
    """Pixels on the scene's ground; bands without signal are invalid."""
    alive = [not isinstance(band, Band) or not _is_blind(band) for band in bands]
    valid = np.broadcast_to(np.array(alive)[:, None, None], pixels.shape).copy()
    transform = Affine(gsd, 0, _ORIGIN[0], 0, -gsd, _ORIGIN[1])
    return RasterImage(np.where(valid, pixels, np.float32(0)), valid, bands, transform, _CRS)


def _is_blind(band: Band) -> bool:
    return _NO_SIGNAL[0] < band.center_wavelength < _NO_SIGNAL[1]


def _observe_sentinel2(
    rng: np.random.Generator,
    bands: tuple[Band, ...],
    surface: Surface,
    haze: FloatArray,
    clouds: Clouds,
    gsd: float,
) -> FloatArray:
    """Every band at its own ground sample distance, repeated on the scene's grid: (12, H, W)."""
    scene = clouds.over(_reflect(surface.coefficients_KHW, haze, bands), bands)
    seen = np.empty_like(scene)
    for number, band in enumerate(bands):
        ratio = max(1, round((band.gsd or gsd) / gsd))
        if ratio == 1:  # the optics blur a pixel into its neighbours
            own = gaussian_filter(scene[number], _OPTICS_BLUR / gsd, mode="nearest")
        else:
            own = average(scene[number], ratio)
        deviation = np.hypot(own / _SENTINEL2_SNR[band.name], _NOISE_FLOOR)
        own = own + deviation * rng.standard_normal(own.shape, dtype=np.float32)
        seen[number] = own.repeat(ratio, 0).repeat(ratio, 1)
    return np.asarray(np.clip(seen, 0, _BRIGHTEST))


def _observe_enmap(
    rng: np.random.Generator,
    bands: tuple[Band, ...],
    surface: Surface,
    haze: FloatArray,
    clouds: Clouds,
    factor: int,
) -> FloatArray:
    """Means over EnMAP's pixels, with noise that grows where water vapour absorbs: (B, H, W)."""
    ground = _reflect(average(surface.coefficients_KHW, factor), average(haze, factor), bands)
    seen = clouds.averaged(factor).over(ground, bands)
    wavelength = np.array([band.center_wavelength for band in bands])[:, None, None]
    depth = sum(
        optical_depth * np.exp(-(((wavelength - center) / width) ** 2))
        for center, width, optical_depth in _VAPOUR
    )
    ratio = np.interp(wavelength, *_ENMAP_SNR) * np.exp(-depth)
    # Specified at 30 % reflectance; below half of that, detector noise holds it up.
    relative, floor = (1 / ratio).astype(np.float32), (0.15 / ratio).astype(np.float32)
    deviation = np.hypot(np.hypot(seen * relative, floor), np.float32(_NOISE_FLOOR / 2))
    noisy = seen + deviation * rng.standard_normal(seen.shape, dtype=np.float32)
    return np.asarray(np.clip(noisy, 0, _BRIGHTEST))


def _reflect(
    coefficients_KHW: FloatArray, haze_HW: FloatArray, bands: tuple[Band, ...]
) -> FloatArray:
    """Surface reflectance (B, H, W) in some bands, with what the correction left of the haze."""
    spectra = integrate_materials(bands).reshape(len(bands), -1)
    ground = np.maximum(np.tensordot(spectra, coefficients_KHW, 1), 0)
    wavelength = np.array([band.center_wavelength for band in bands], np.float32)
    reflected: FloatArray = ground + (0.5 / wavelength[:, None, None]) ** 2 * haze_HW
    return reflected
