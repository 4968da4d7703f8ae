"""How often each test sample is drawn in each resample.

Of n units n - 1 are drawn, with replacement: that makes the spread of a mean unbiased, which
matters where there are few (Rao and Wu 1988, "Resampling inference with complex survey data").

Shape suffixes: N samples, U units that are drawn (samples, groups or seeds), R resamples.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_BLOCK = 2**18
"""Weights held at a time, so that memory does not grow with the number of resamples."""


def number_units(count: int, groups: Sequence[str] | None) -> NDArray[np.int64]:
    """The unit each sample is drawn with, (N,): its group, or itself where there are none."""
    if groups is None:
        return np.arange(count)
    _, unit_N = np.unique(groups, return_inverse=True)
    return unit_N.astype(np.int64)


def draw_samples(unit_N: NDArray[np.int64], resamples: int, seed: int) -> Iterator[Array]:
    """Blocks of rows that say how often each sample is drawn, (..., N)."""
    generator = np.random.default_rng((seed, 0))
    units = int(unit_N.max()) + 1
    size = max(1, _BLOCK // len(unit_N))
    for start in range(0, resamples, size):
        yield _draw(units, min(size, resamples - start), generator)[:, unit_N]


def draw_seeds(count: int, resamples: int, seed: int) -> Array:
    """The share of each seed in each resample, (R, U).

    Depends on the number of seeds only, so that two encoders with as many get the same.
    """
    drawn_RU = _draw(count, resamples, np.random.default_rng((seed, count)))
    share_RU: Array = drawn_RU / drawn_RU.sum(1, keepdims=True)
    return share_RU


def _draw(units: int, resamples: int, generator: np.random.Generator) -> Array:
    """How often each of the units comes in n - 1 draws, (R, U)."""
    drawn_RD = generator.integers(units, size=(resamples, max(units - 1, 1)))
    drawn_RD += units * np.arange(resamples)[:, None]
    counts = np.bincount(drawn_RD.ravel(), minlength=resamples * units)
    return counts.reshape(resamples, units).astype(np.float64)
