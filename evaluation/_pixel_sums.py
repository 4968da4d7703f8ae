"""Predictions of pixels as sums of each chip, and what predictions have to be.

Shape suffixes: B chips, K classes or targets, H height, W width, M labelled pixels.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from evaluation._errors import error_sums
from evaluation.calibration import bin_sums
from rasters import IGNORE_INDEX
from sensors import InputError


def sum_classes(probability_BKHW: Tensor, mask_BHW: Tensor) -> dict[str, NDArray[Any]]:
    """Confusion and calibration of every chip, as `PixelPredictions` has them."""
    check_probabilities(probability_BKHW)
    batch, count = probability_BKHW.shape[:2]
    confidence_BHW, said_BHW = probability_BKHW.max(1)
    labelled_BHW = mask_BHW != IGNORE_INDEX
    row_M = torch.arange(batch)[:, None, None].expand(labelled_BHW.shape)[labelled_BHW.cpu()]
    true_M, said_M, confidence_M = (
        x_BHW[labelled_BHW].cpu() for x_BHW in (mask_BHW, said_BHW, confidence_BHW)
    )
    check_labels(range(count), true_M)
    cell_M = (row_M * count + true_M) * count + said_M
    confusion = torch.bincount(cell_M, minlength=batch * count**2).view(batch, count, count)
    return {
        "confusion_NKK": confusion.numpy(),
        "calibration_NB3": bin_sums(confidence_M, said_M == true_M, row_M, batch),
    }


def sum_values(value_BKHW: Tensor, target_BKHW: Tensor) -> dict[str, NDArray[Any]]:
    """Errors of every chip, as `PixelValuePredictions` has them."""
    check_finite(value_BKHW)
    prediction, target = (x.flatten(2).cpu().numpy() for x in (value_BKHW, target_BKHW))
    return {"errors_NK5": error_sums(prediction, target)}


def to_tensor(values: ArrayLike | Tensor) -> Tensor:
    """A tensor of the same memory, where that may be written to."""
    if isinstance(values, Tensor):
        return values.detach()
    return torch.from_numpy(np.require(values, requirements="W"))  # files may be mapped read-only


def check_finite(prediction: Tensor) -> None:
    """Stop at NaN and infinity."""
    bad = prediction.numel() - int(prediction.isfinite().sum())
    if bad:
        raise InputError(f"{bad} of {prediction.numel()} predictions are not finite numbers")


def check_probabilities(probability: Tensor, slack: float = 1e-3) -> None:
    """Stop at what is not within 0..1 but for rounding, such as logits."""
    check_finite(probability)
    bad = int(((probability < -slack) | (probability > 1 + slack)).sum())
    if bad:
        raise InputError(
            f"{bad} of {probability.numel()} predictions are not within 0..1: expected "
            "probabilities, not logits"
        )


def check_labels(known: Sequence[int], target: Tensor) -> None:
    """Stop at numbers that are no class."""
    unknown = target[(target < known[0]) | (target > known[-1]) | (target != target.long())]
    if unknown.numel():
        raise InputError(f"target {unknown[0].item()} is not one of {known[0]}..{known[-1]}")
