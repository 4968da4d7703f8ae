"""Mean and standard deviation of every band, measured on valid pixels in physical units.

Shape suffixes: C bands, P pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rasters.chips import ChipDataset
from rasters.progress import show_progress
from sensors.bands import Channel


@dataclass(frozen=True)
class BandStatistics:
    """What a data set's bands look like.

    Args:
        bands: The C bands.
        mean: Per band, in its physical unit; 0 for a band without a valid pixel.
        std: Standard deviation per band (of the population); 1 for a band that has no valid pixel
            or never varies, so that dividing by it is always possible.
        count: Valid pixels per band.
    """

    bands: tuple[Channel, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    count: tuple[int, ...]


def measure_statistics(
    dataset: ChipDataset, indices: Sequence[int] | None = None, progress: bool = True
) -> BandStatistics:
    """Measure a data set's bands; give the training split's indices (or subset), never more.

    Chips are merged pairwise by the method of Chan, Golub and LeVeque (1979), in float64 and in
    order of position, so that the order of `indices` does not matter.

    Args:
        dataset: Chips.
        indices: Which of them; all if not given.
        progress: Show a progress bar if standard error is a terminal.
    """
    order = range(len(dataset)) if indices is None else sorted(indices)
    count_C = np.zeros(len(dataset.bands), dtype=np.int64)
    mean_C = np.zeros(len(dataset.bands))
    squares_C = np.zeros(len(dataset.bands))
    for index in show_progress(order, "Measuring band statistics", visible=progress):
        item = dataset[index]
        valid_CP = item["valid"].flatten(1).numpy()
        pixels_CP = item["image"].flatten(1).numpy().astype(np.float64)
        chip = _moments(pixels_CP, valid_CP)
        count_C, mean_C, squares_C = _merge((count_C, mean_C, squares_C), chip)
    variance_C = squares_C / np.maximum(count_C, 1)
    std_C = np.sqrt(np.where(variance_C > 0, variance_C, 1.0))
    return BandStatistics(
        dataset.bands,
        tuple(mean_C.tolist()),
        tuple(std_C.tolist()),
        tuple(count_C.tolist()),
    )


Moments = tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]


def _moments(pixels_CP: NDArray[np.float64], valid_CP: NDArray[np.bool_]) -> Moments:
    """Count, mean, and sum of squared deviations from it."""
    count_C = valid_CP.sum(axis=1)
    mean_C = pixels_CP.sum(axis=1, where=valid_CP) / np.maximum(count_C, 1)
    squares_C = ((pixels_CP - mean_C[:, None]) ** 2).sum(axis=1, where=valid_CP)
    return count_C, mean_C, squares_C


def _merge(one: Moments, other: Moments) -> Moments:
    count_C = one[0] + other[0]
    share_C = other[0] / np.maximum(count_C, 1)
    shift_C = other[1] - one[1]
    squares_C = one[2] + other[2] + shift_C**2 * one[0] * share_C
    return count_C, one[1] + shift_C * share_C, squares_C
