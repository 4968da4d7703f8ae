"""How alike two spectral responses are, and the mix of responses that comes nearest to one.

A response is a Gaussian of unit area over wavelength, given by centre and full width at half
maximum. The overlap of two responses is the area under both of them, `integral of min(p, q)`: 1 for
equal responses, 0 for disjoint ones.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from sensors.bands import Band

_FWHM_IN_SIGMAS = 2 * math.sqrt(2 * math.log(2))
_TAIL = 4.0  # sigmas to each side that the grid covers: all but 6e-5 of the area
_GRID_STEP = 0.1  # of the narrowest sigma: the trapezoid's error is far below the rounding
_LEAST_WEIGHT = 0.01  # of the largest


def overlap(first: Band, second: Band) -> float:
    """Area under both unit-area Gaussian responses, 0..1, in closed form.

    The two densities cross where a quadratic in the wavelength is zero; between the crossings the
    narrower one lies above, outside them the wider one does.
    """
    narrow, wide = sorted((first, second), key=lambda band: band.full_width_half_max)
    # In units of the narrow sigma, from the narrow centre.
    ratio = wide.full_width_half_max / narrow.full_width_half_max
    shift = abs(wide.center_wavelength - narrow.center_wavelength) / _sigma(narrow)
    if ratio - 1 < 1e-9:
        return math.erfc(shift / (2 * math.sqrt(2)))
    spread = ratio * ratio - 1
    root = ratio * math.sqrt(shift * shift + 2 * spread * math.log(ratio))
    left, right = (-shift - root) / spread, (-shift + root) / spread
    outside = _below(left) + _below(-right)
    inside = _below((right - shift) / ratio) - _below((left - shift) / ratio)
    return min(1.0, outside + inside)


def best_mix(wanted: Band, given: Sequence[Band]) -> tuple[tuple[float, ...], float]:
    """Weights of the given bands whose mixed response comes nearest to the wanted one.

    Non-negative least squares on the responses, weights below 1 % of the largest dropped, the rest
    scaled to sum to 1 (so that a flat spectrum stays what it is).

    Returns:
        One weight a given band, and the overlap of the mixed response with the wanted one.
    """
    bands = (wanted, *given)
    sigmas = [_sigma(band) for band in bands]
    start = min(b.center_wavelength - _TAIL * s for b, s in zip(bands, sigmas, strict=True))
    stop = max(b.center_wavelength + _TAIL * s for b, s in zip(bands, sigmas, strict=True))
    step = _GRID_STEP * min(sigmas)
    grid_G = np.arange(start, stop + step, step, dtype=np.float64)
    wanted_G, *given_CG = (_response(band, grid_G) for band in bands)
    # At the scale of unit peaks, where nnls's own tolerance is meant.
    peak = wanted_G.max()
    weights_C, _ = nnls(np.stack(given_CG, axis=1) / peak, wanted_G / peak)
    weights_C[weights_C < _LEAST_WEIGHT * weights_C.max()] = 0
    weights_C = weights_C / weights_C.sum()
    mixed_G = sum(w * p_G for w, p_G in zip(weights_C, given_CG, strict=True) if w)
    area = float(np.minimum(wanted_G, mixed_G).sum() * step)
    return tuple(float(weight) for weight in weights_C), min(1.0, area)


def _response(band: Band, grid_G: NDArray[np.float64]) -> NDArray[np.float64]:
    sigma = _sigma(band)
    z_G = (grid_G - band.center_wavelength) / sigma
    density: NDArray[np.float64] = np.exp(-0.5 * z_G * z_G) / (sigma * math.sqrt(2 * math.pi))
    return density


def _sigma(band: Band) -> float:
    return band.full_width_half_max / _FWHM_IN_SIGMAS


def _below(z: float) -> float:
    """Area of the standard normal density below z."""
    return 0.5 * math.erfc(-z / math.sqrt(2))
