"""The metrics of each task, from torchmetrics, under one set of names.

The specialist and the floors beside it are scored by the same object, so that their numbers can be
compared.

Shape suffixes: B batch, K classes or targets, H height, W width, N samples (scenes or pixels).
"""

import warnings
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import MeanAbsoluteError, MeanSquaredError, Metric, MetricCollection, R2Score
from torchmetrics.classification import (
    MulticlassAccuracy,
    MulticlassF1Score,
    MulticlassJaccardIndex,
    MultilabelAveragePrecision,
    MultilabelF1Score,
)

from rasters import IGNORE_INDEX
from specialists.task_spec import TaskSpec

Scores = dict[str, Any]
"""Metric name to number, or to `{class: number}`; a class without samples has None."""

_SELECTED_BY = {
    "scene-classification": "accuracy",
    "semantic-segmentation": "miou",
    "regression": "rmse",
    "similarity-search": "masked_mse",
}


def selection_metric(spec: TaskSpec) -> tuple[str, str]:
    """The metric that picks the best weights of a task, and whether `max` or `min` is best."""
    name = "map" if spec.multi_label else _SELECTED_BY[spec.task]
    return name, "min" if name in ("rmse", "masked_mse") else "max"


class TaskMetrics(nn.Module):
    """Running metrics of one task.

    | task | numbers | per class |
    |---|---|---|
    | scene-classification | `accuracy`, `macro_f1` | `f1` |
    | scene-classification, multi-label | `map`, `macro_f1` | `average_precision`, `f1` |
    | semantic-segmentation | `miou`, `accuracy`, `macro_f1` | `iou`, `f1` |
    | regression | `rmse`, `mae`, `r2` | |

    Macro means are over the classes that occur. Per-class tables come with `support`, the number
    of samples.

    Args:
        spec: The specialist whose task it is.
    """

    def __init__(self, spec: TaskSpec) -> None:
        super().__init__()
        self.spec = spec
        self.metrics = MetricCollection(_build(spec))
        if spec.task == "regression":
            # Sums of squares over millions of pixels at 300 K leave no digit of a float32.
            self.metrics.set_dtype(torch.float64)
        self.support = _Support(len(spec.classes))

    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Count one batch.

        Args:
            prediction: What `Specialist.predict` says, (B, K) or (B, K, H, W).
            target: Class numbers (B,) or (B, H, W), where 255 is ignored; flags (B, K) for
                multi-label; values (B, K), (B, H, W) or (B, K, H, W) for regression, where NaN is
                ignored.
        """
        prediction = prediction.float()  # mixed precision gives bfloat16
        if self.spec.task == "regression":
            prediction, target = flatten_targets(prediction, target)
            if len(target) == 0:
                return
            prediction, target = prediction.double(), target.double()
        elif self.spec.multi_label:
            target = target.long()
            self.support.update(target.sum(0))
        else:
            counted = target[target != IGNORE_INDEX]
            self.support.update(torch.bincount(counted, minlength=len(self.spec.classes)))
        self.metrics.update(prediction, target)

    def compute(self) -> Scores:
        """Everything counted so far, as plain numbers."""
        with warnings.catch_warnings():
            # Classes without samples are left out below.
            warnings.filterwarnings("ignore", "No positive samples found")
            values = self.metrics.compute()
        if self.spec.task == "regression":
            return {name: value.mean().item() for name, value in values.items()}
        support_K: Tensor = self.support.compute()
        occurs_K = support_K > 0
        scores: Scores = {}
        for name, value in values.items():
            scores[name] = value.item() if value.ndim == 0 else self._by_class(value, occurs_K)
        if self.spec.multi_label:
            scores["map"] = values["average_precision"][occurs_K].mean().item()
            scores["macro_f1"] = values["f1"][occurs_K].mean().item()
        scores["support"] = self._by_class(support_K, occurs_K | True)
        return scores

    def reset(self) -> None:
        """Forget everything counted so far."""
        self.metrics.reset()
        self.support.reset()

    def _by_class(self, values_K: Tensor, occurs_K: Tensor) -> dict[str, float | int | None]:
        return {
            name: value if occurs else None
            for name, value, occurs in zip(
                self.spec.classes, values_K.tolist(), occurs_K.tolist(), strict=True
            )
        }


class _Support(Metric):
    """Number of samples of each class, summed over all processes."""

    full_state_update = False
    counts_K: Tensor

    def __init__(self, count: int) -> None:
        super().__init__()
        self.add_state("counts_K", torch.zeros(count, dtype=torch.long), dist_reduce_fx="sum")

    def update(self, counts_K: Tensor) -> None:
        self.counts_K += counts_K

    def compute(self) -> Tensor:
        return self.counts_K


class _R2Score(R2Score):
    """R2 that is NaN, where torchmetrics' own stops, of a single sample."""

    def compute(self) -> Tensor:
        if self.total < 2:
            return torch.tensor(torch.nan)
        value: Tensor = super().compute()
        return value


def flatten_targets(prediction: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Regression values as rows (N, K), one a scene or pixel, without those of a NaN target."""
    if prediction.ndim == 4 and target.ndim == 3:
        target = target[:, None]
    rows, targets = (x.movedim(1, -1).reshape(-1, x.shape[1]) for x in (prediction, target))
    known = targets.isfinite().all(1)
    return rows[known], targets[known]


def _build(spec: TaskSpec) -> dict[str, Metric | MetricCollection]:
    count = len(spec.classes)
    if spec.task == "regression":
        return {
            "rmse": MeanSquaredError(squared=False, num_outputs=count),
            "mae": MeanAbsoluteError(num_outputs=count),
            "r2": _R2Score(multioutput="raw_values"),
        }
    if spec.multi_label:
        return {
            "average_precision": MultilabelAveragePrecision(count, average="none"),
            "f1": MultilabelF1Score(count, average="none"),
        }
    metrics: dict[str, Metric | MetricCollection] = {
        "accuracy": MulticlassAccuracy(count, average="micro", ignore_index=IGNORE_INDEX),
        "macro_f1": MulticlassF1Score(count, average="macro", ignore_index=IGNORE_INDEX),
        "f1": MulticlassF1Score(count, average="none", ignore_index=IGNORE_INDEX),
    }
    if spec.task == "semantic-segmentation":
        metrics["miou"] = MulticlassJaccardIndex(count, ignore_index=IGNORE_INDEX)
        metrics["iou"] = MulticlassJaccardIndex(count, average="none", ignore_index=IGNORE_INDEX)
    return metrics
