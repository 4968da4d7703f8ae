"""Reference reflectance spectra of land-cover materials, seen through a sensor's bands."""

import functools
import json
from importlib import resources

import numpy as np
from numpy.typing import NDArray

from sensors import Band

MODES = 3  # a material is its mean and two modes of variation
FINE_STEP = 0.001  # micrometres; narrow enough for EnMAP's 6 nm bands


@functools.cache
def _load_table() -> tuple[tuple[str, ...], NDArray[np.float64]]:
    table = resources.files("rasters").joinpath("spectra/land_cover.json")
    columns, *rows = json.loads(table.read_text())
    return tuple(columns), np.array(rows, dtype=np.float64)


def material_names() -> tuple[str, ...]:
    """Names of the materials in the table, in its order."""
    columns, _ = _load_table()
    return tuple(name for name in columns[1:] if "." not in name)


@functools.lru_cache(maxsize=8)
def integrate_materials(bands: tuple[Band, ...]) -> NDArray[np.float32]:
    """Mean, mode 1 and mode 2 of every material in every band: (bands, materials, 3)."""
    _, values = _load_table()
    spectra = integrate(bands, values[:, 0], values[:, 1:])
    return spectra.reshape(len(bands), -1, MODES).astype(np.float32)


def integrate(
    bands: tuple[Band, ...], wavelength: NDArray[np.float64], spectra: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Mean of spectra over each band's response.

    The response is a Gaussian of the band's centre and full width at half maximum. Between the
    given wavelengths a spectrum is linear, beyond them it keeps its edge value.

    Args:
        bands: Bands to integrate over, B of them.
        wavelength: (L,) in micrometres, ascending.
        spectra: (L, K) reflectance.

    Returns:
        (B, K) reflectance.
    """
    reach = 3 * max(band.full_width_half_max for band in bands)
    low = min(band.center_wavelength for band in bands) - reach
    high = max(band.center_wavelength for band in bands) + reach
    fine = np.arange(low, high, FINE_STEP)
    center = np.array([band.center_wavelength for band in bands])[:, None]
    width = np.array([band.full_width_half_max for band in bands])[:, None]
    response = np.exp(-4 * np.log(2) * ((fine - center) / width) ** 2)
    response /= response.sum(1, keepdims=True)
    on_fine = np.stack([np.interp(fine, wavelength, column) for column in spectra.T], 1)
    integrated: NDArray[np.float64] = response @ on_fine
    return integrated
