"""Every score as a weighted statistic of the test samples.

A resample of the test set is a row of weights (how often each sample was drawn), so a bootstrap is
a few matrix products. With all weights 1 the numbers equal torchmetrics', under the names of
`specialists.metrics.TaskMetrics`.

Shape suffixes: N samples, K classes or targets, R resamples.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from evaluation._counts import CountScores
from evaluation._errors import Errors
from evaluation._ranking import MacroAveragePrecision, MicroAveragePrecision
from evaluation.calibration import CalibrationError, bin_sums
from evaluation.predictions import (
    PixelPredictions,
    PixelValuePredictions,
    Predictions,
    ScenePredictions,
)
from evaluation.tasks import metrics_of
from sensors import InputError

Array = NDArray[np.float64]

THRESHOLD = 0.5
"""A label is said where its probability is above this."""


class Statistic(Protocol):
    """Some scores that are worked out together."""

    metrics: Sequence[str]

    def __call__(self, weights_RN: Array) -> dict[str, Array]:
        """Each score under each row of weights, (R,)."""


class Scorer:
    """The scores of one encoder's predictions under any weights; sorts and counts only once.

    | task | metrics |
    |---|---|
    | scene-classification | `accuracy`, `macro_accuracy` (balanced), `macro_f1`, `ece` |
    | the same, multi-label | `map` (macro), `micro_map`, `macro_f1`, `micro_f1`, `ece` |
    | semantic-segmentation | `miou`, `micro_iou`, `accuracy`, `macro_f1`, `ece` |
    | regression | `rmse`, `mae`, `r2`, each averaged over the targets |

    Macro means are over the classes that occur; one that does not, but is said somewhere, counts
    as 0 in `macro_f1` and `miou` where classes exclude each other, as in torchmetrics. For
    multi-label, `ece` takes each pair of a scene and a class as one statement.

    Args:
        predictions: Of any task.
        metrics: Which scores; all there are for the task if not given.

    Raises:
        InputError: If a metric is unknown to the task.
    """

    def __init__(self, predictions: Predictions, metrics: Sequence[str] | None = None) -> None:
        known = metrics_of(predictions.task)
        self.metrics = known if metrics is None else tuple(metrics)
        for name in self.metrics:
            if name not in known:
                raise InputError(
                    f"metric {name!r} is not one of those of the task: {', '.join(known)}"
                )
        self.samples = len(predictions.ids)
        parts = _statistics_of(predictions)
        self.parts = [part for part in parts if not set(self.metrics).isdisjoint(part.metrics)]

    def __call__(self, weights_RN: Array) -> dict[str, Array]:
        """Every score under each row of weights, (R,); NaN where it is not defined."""
        values: dict[str, Array] = {}
        for part in self.parts:
            values |= part(weights_RN)
        return {name: values[name] for name in self.metrics}


def score(predictions: Predictions, weights_RN: Array | None = None) -> dict[str, Array]:
    """Every score of the task, see `Scorer`.

    Args:
        predictions: Of any task.
        weights_RN: Weight of every sample in every resample; without, each counts once (R = 1).

    Returns:
        For every metric its value under each row of weights, (R,).

    Raises:
        InputError: If the weights are not one for each sample.
    """
    count = len(predictions.ids)
    weights_RN = np.ones((1, count)) if weights_RN is None else np.asarray(weights_RN, np.float64)
    if weights_RN.ndim != 2 or weights_RN.shape[1] != count:
        raise InputError(f"weights are {weights_RN.shape}, expected (R, {count})")
    return Scorer(predictions)(weights_RN)


def per_class(predictions: Predictions) -> dict[str, dict[str, float | None]]:
    """Scores of each class or target, None where one is not defined, and `support`.

    Scenes have `f1`, `precision` and `recall`; labels of multi-label scenes `average_precision`
    too, pixels `iou` too; targets of a regression `rmse`, `mae` and `r2`. `support` is the number
    of samples, pixels or values.
    """
    once_RN = np.ones((1, len(predictions.ids)))
    task = predictions.task
    if task.kind == "regression":
        values, support_RK = _errors_of(predictions).by_target(once_RN)
    else:
        counts = _counts_of(predictions).count(once_RN)
        support_RK = counts.true_RK
        values = {"f1": counts.f1(), "precision": counts.precision(), "recall": counts.recall()}
        if task.kind == "semantic-segmentation":
            values["iou"] = counts.iou()
        if task.multi_label:
            values["average_precision"] = _rankings_of(predictions).by_class(once_RN)
    occurs_K = support_RK[0] > 0
    table: dict[str, dict[str, float | None]] = {
        name: {
            label: value if occurs and np.isfinite(value) else None
            for label, value, occurs in zip(
                task.classes, value_RK[0].tolist(), occurs_K, strict=True
            )
        }
        for name, value_RK in values.items()
    }
    table["support"] = dict(zip(task.classes, support_RK[0].astype(int).tolist(), strict=True))
    return table


def confusion(predictions: Predictions) -> NDArray[np.int64] | None:
    """Samples or pixels by true class (rows) and predicted class (columns), (K, K).

    None where classes do not exclude each other, and for a regression.
    """
    if isinstance(predictions, PixelPredictions):
        total_KK: NDArray[np.int64] = predictions.confusion_NKK.sum(0)
        return total_KK
    if predictions.task.multi_label or not isinstance(predictions, ScenePredictions):
        return None
    if predictions.task.kind == "regression":
        return None
    count = len(predictions.task.classes)
    cell_N = predictions.target * count + predictions.prediction_NK.argmax(1)
    return np.bincount(cell_N, minlength=count**2).reshape(count, count)


def _statistics_of(predictions: Predictions) -> list[Statistic]:
    if predictions.task.kind == "regression":
        return [_errors_of(predictions)]
    parts: list[Statistic] = [_counts_of(predictions), _calibration_of(predictions)]
    if predictions.task.multi_label:
        parts += [_rankings_of(predictions), MicroAveragePrecision(*_labels_of(predictions))]
    return parts


def _errors_of(predictions: Predictions) -> Errors:
    assert isinstance(predictions, ScenePredictions | PixelValuePredictions)
    return Errors(predictions.errors())


def _rankings_of(predictions: Predictions) -> MacroAveragePrecision:
    return MacroAveragePrecision(*_labels_of(predictions))


def _labels_of(predictions: Predictions) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    assert isinstance(predictions, ScenePredictions)
    return predictions.prediction_NK, predictions.target


def _counts_of(predictions: Predictions) -> CountScores:
    if isinstance(predictions, PixelPredictions):
        cells_NKK = predictions.confusion_NKK
        right_NK = cells_NKK.diagonal(axis1=1, axis2=2)
        true_NK, said_NK = cells_NKK.sum(2), cells_NKK.sum(1)
    else:
        assert isinstance(predictions, ScenePredictions)
        probability_NK, true_NK = predictions.prediction_NK, predictions.target
        if predictions.task.multi_label:
            said_NK = probability_NK > THRESHOLD
        else:
            each_KK = np.eye(len(predictions.task.classes), dtype=np.bool_)
            true_NK, said_NK = each_KK[true_NK], each_KK[probability_NK.argmax(1)]
        right_NK = true_NK & said_NK
    return CountScores(right_NK, true_NK, said_NK, task=predictions.task)


def _calibration_of(predictions: Predictions) -> CalibrationError:
    if isinstance(predictions, PixelPredictions):
        return CalibrationError(predictions.calibration_NB3)
    assert isinstance(predictions, ScenePredictions)
    confidence_NK = torch.from_numpy(predictions.prediction_NK)
    right_NK = torch.from_numpy(predictions.target)
    if not predictions.task.multi_label:
        confidence_N, said_N = confidence_NK.max(1)
        confidence_NK, right_NK = confidence_N[:, None], (said_N == right_NK)[:, None]
    count, width = confidence_NK.shape
    row_M = torch.arange(count).repeat_interleave(width)
    return CalibrationError(bin_sums(confidence_NK.ravel(), right_NK.ravel(), row_M, count))
