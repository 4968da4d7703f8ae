"""What the outputs of a pixel probe mean: classes or values, with the loss to learn them by.

Shape suffixes: B batch, N chips, K classes or targets, H height, W width.
"""

from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from evaluation.tasks import Task
from rasters import IGNORE_INDEX
from sensors import InputError


class PixelAnswers(Protocol):
    """How outputs (B, K, H, W) are compared with a target, and what they say."""

    def loss(self, outputs_BKHW: Tensor, target: Tensor) -> Tensor:
        """Mean over the labelled pixels, 0 where there is none."""
        ...

    def finish(self, outputs_BKHW: Tensor) -> Tensor:
        """Probabilities, or values in their own unit, (B, K, H, W)."""
        ...


def pixel_answers(task: Task, targets: NDArray[Any]) -> PixelAnswers:
    """The answers of a task; values are learned on the scale of the training targets.

    Args:
        task: A per-pixel task.
        targets: Of the training chips, (N, H, W) or (N, K, H, W).

    Raises:
        InputError: If fewer than two classes are labelled, or a value does not vary.
    """
    return (_Values if task.kind == "regression" else _Classes)(task, targets)


class _Classes:
    def __init__(self, task: Task, targets_NHW: NDArray[Any]) -> None:
        seen = {int(value) for mask_HW in targets_NHW for value in np.unique(mask_HW)}
        labelled = sorted(seen - {IGNORE_INDEX})
        if len(labelled) < 2:
            names = ", ".join(task.classes[number] for number in labelled) or "none"
            raise InputError(
                f"the labelled pixels of {len(targets_NHW)} training chips are of one class "
                f"({names}): there is nothing to tell apart"
            )

    def loss(self, outputs_BKHW: Tensor, target: Tensor) -> Tensor:
        total = functional.cross_entropy(
            outputs_BKHW, target.long(), ignore_index=IGNORE_INDEX, reduction="sum"
        )
        return total / (target != IGNORE_INDEX).sum().clamp(min=1)

    def finish(self, outputs_BKHW: Tensor) -> Tensor:
        return outputs_BKHW.softmax(dim=1)


class _Values:
    def __init__(self, task: Task, targets: NDArray[Any]) -> None:
        by_target = np.reshape(targets, (len(targets), len(task.classes), -1)).swapaxes(0, 1)
        known = [values[np.isfinite(values)].astype(np.float64) for values in by_target]
        for name, values in zip(task.classes, known, strict=True):
            if len(values) == 0 or values.min() == values.max():
                raise InputError(
                    f"target {name} has {len(values)} known values in {len(targets)} training "
                    "chips and does not vary: there is nothing to learn from it"
                )
        self._mean_K11 = torch.tensor([values.mean() for values in known])[:, None, None].float()
        self._std_K11 = torch.tensor([values.std() for values in known])[:, None, None].float()

    def loss(self, outputs_BKHW: Tensor, target: Tensor) -> Tensor:
        target_BKHW = target.reshape(outputs_BKHW.shape)
        wanted_BKHW = (target_BKHW - self._mean_K11.to(target)) / self._std_K11.to(target)
        known_BKHW = wanted_BKHW.isfinite()
        error_BKHW = torch.where(known_BKHW, outputs_BKHW - wanted_BKHW, 0)
        return error_BKHW.square().sum() / known_BKHW.sum().clamp(min=1)

    def finish(self, outputs_BKHW: Tensor) -> Tensor:
        scale = self._std_K11.to(outputs_BKHW)
        return outputs_BKHW * scale + self._mean_K11.to(outputs_BKHW)
