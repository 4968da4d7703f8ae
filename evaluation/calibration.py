"""Calibration: whether things said with 80 % confidence are right 80 % of the time.

Shape suffixes: N samples, M statements (a scene, a scene and class, or a pixel), B bins,
R resamples.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

BINS = 15
"""Bins of equal width over the confidence 0..1; full certainty, 1.0, is one more of its own."""


def bin_sums(
    confidence_M: Tensor, right_M: Tensor, row_M: Tensor, rows: int
) -> NDArray[np.float64]:
    """Count statements by confidence, for each sample apart.

    Bins are closed below, as torchmetrics has them, with certainty (exactly 1.0) in a last one.

    Args:
        confidence_M: Probability of what is said, 0..1.
        right_M: Whether it is right, bool or 0 and 1.
        row_M: The sample each statement belongs to.
        rows: Number of samples.

    Returns:
        For every sample and bin the number of statements, the sum of their confidence, and how many
        are right: (rows, BINS + 1, 3).
    """
    edges = torch.linspace(0, 1, BINS + 1, dtype=confidence_M.dtype)
    bin_M = torch.bucketize(confidence_M, edges, right=True).clamp(1, BINS + 1) - 1
    cell_M = row_M * (BINS + 1) + bin_M
    sums = [
        torch.bincount(cell_M, weights, minlength=rows * (BINS + 1)).double()
        for weights in (None, confidence_M.double(), right_M.double())
    ]
    result: NDArray[np.float64] = torch.stack(sums, -1).view(rows, BINS + 1, 3).numpy()
    return result


class CalibrationError:
    """Expected calibration error (ECE) of weighted samples.

    The mean over statements of the gap between confidence and accuracy in their bin, equation 3 of
    Guo et al. 2017, "On Calibration of Modern Neural Networks" (arXiv 1706.04599).

    Args:
        sums_NB3: What `bin_sums` gives.
    """

    metrics: Sequence[str] = ("ece",)

    def __init__(self, sums_NB3: NDArray[np.float64]) -> None:
        self.bins = sums_NB3.shape[1]
        self.sums_NS = np.asarray(sums_NB3, np.float64).reshape(len(sums_NB3), -1)

    def __call__(self, weights_RN: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        """The error under each row of weights, NaN where nothing has weight."""
        sums_RB3 = (weights_RN @ self.sums_NS).reshape(len(weights_RN), self.bins, 3)
        count_RB, confidence_RB, right_RB = np.moveaxis(sums_RB3, -1, 0)
        with np.errstate(invalid="ignore"):
            return {"ece": np.abs(right_RB - confidence_RB).sum(1) / count_RB.sum(1)}
