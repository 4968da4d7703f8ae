"""Feature levels on their way from memory-mapped files to a pixel probe.

Shape suffixes: B batch, N chips, C channels, H height, W width.
"""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from evaluation.features import Features
from sensors import InputError

Batch = tuple[list[Tensor], Tensor]
"""Levels (B, C_i, H_i, W_i), finest first, and the target of the same chips."""


def level_shapes(features: Features) -> list[tuple[int, int, int]]:
    """Channels, rows and columns of every level, finest first.

    Raises:
        InputError: If the features hold no levels.
    """
    if not features.levels:
        raise InputError("a pixel probe needs dense features: extract them with dense=True")
    return [level.shape[1:] for level in features.levels]


def load_batch(
    features: Features, chosen_B: NDArray[np.int64], device: str | torch.device
) -> Batch:
    """The levels and targets of some chips."""
    levels = [
        torch.from_numpy(np.array(level[chosen_B], np.float32)).to(device)
        for level in features.levels or ()
    ]
    return levels, torch.from_numpy(np.array(features.targets[chosen_B])).to(device)


def batches_in_order(count: int, batch_size: int) -> Iterator[NDArray[np.int64]]:
    """Numbers of all chips, a batch at a time."""
    for start in range(0, count, batch_size):
        yield np.arange(start, min(start + batch_size, count))


def shuffled_batches(count: int, batch_size: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """Numbers of chips, a batch at a time and without end, in a new order every time round."""
    generator = np.random.default_rng(seed)
    while True:
        order_N = generator.permutation(count)
        for places_B in batches_in_order(count, batch_size):
            yield np.sort(order_N[places_B])  # sorted: files are read in one direction


def level_moments(features: Features, batch_size: int) -> list[tuple[Tensor, Tensor]]:
    """Mean and standard deviation (C,) of every level's channels; 1 for a constant channel.

    Raises:
        InputError: If a feature is not finite.
    """
    moments = []
    for number, level in enumerate(features.levels or ()):
        total_C = squares_C = 0.0
        for chosen_B in batches_in_order(len(features), batch_size):
            part = np.asarray(level[chosen_B], np.float64)
            total_C = total_C + part.sum(axis=(0, 2, 3))
            squares_C = squares_C + np.square(part).sum(axis=(0, 2, 3))
        pixels = len(features) * level.shape[2] * level.shape[3]
        mean_C = np.asarray(total_C) / pixels
        std_C = np.sqrt(np.maximum(np.asarray(squares_C) / pixels - mean_C**2, 0))
        if not np.isfinite(std_C).all():
            raise InputError(
                f"level {number} of the training features has values that are not finite in "
                f"{(~np.isfinite(std_C)).sum()} of {len(std_C)} channels"
            )
        std_C[std_C <= 1e-6 * np.abs(mean_C)] = 1
        moments.append((torch.from_numpy(mean_C).float(), torch.from_numpy(std_C).float()))
    return moments
