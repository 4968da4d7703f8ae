"""Seeded random fields: the raw material of simulated relief, forest edges, texture and clouds."""

import numpy as np
from numpy.typing import NDArray
from scipy import fft

FloatArray = NDArray[np.float32]


def matern_field(
    rng: np.random.Generator, size: int, scale: float, smoothness: float
) -> FloatArray:
    """Stationary Gaussian field (size, size), zero mean, unit variance, periodic at its edges.

    Its power spectrum is that of the Matern family in two dimensions, (1 + (2 pi f
    scale)^2)^-(smoothness + 1) (Stein 1999, Interpolation of Spatial Data, section 2.7): `scale` in
    pixels sets the size of the blobs, `smoothness` how ragged they are (0.5 ragged, 2 smooth).
    """
    noise = fft.rfft2(rng.standard_normal((size, size), dtype=np.float32))
    row = np.fft.fftfreq(size).astype(np.float32)[:, None]
    column = np.fft.rfftfreq(size).astype(np.float32)[None, :]
    square = (row**2 + column**2) * np.float32((2 * np.pi * scale) ** 2)
    filtered = fft.irfft2(noise * (1 + square) ** np.float32(-(smoothness + 1) / 2), s=(size, size))
    field: FloatArray = (filtered - filtered.mean()) / filtered.std()
    return field
