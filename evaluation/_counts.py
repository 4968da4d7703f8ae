"""Scores of classes from three counts: how often one is right, is true, and is said.

Shape suffixes: N samples, K classes, R resamples.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluation.tasks import Task, metrics_of

Array = NDArray[np.float64]


@dataclass(frozen=True)
class ClassCounts:
    """Counts of one or more resamples, each (R, K)."""

    right_RK: Array
    true_RK: Array
    said_RK: Array

    def f1(self) -> Array:
        """Mean of precision and recall, harmonic, (R, K); NaN where neither true nor said."""
        return divide(2 * self.right_RK, self.true_RK + self.said_RK)

    def iou(self) -> Array:
        """Intersection over union, (R, K); NaN where a class is neither true nor said."""
        return divide(self.right_RK, self.true_RK + self.said_RK - self.right_RK)

    def recall(self) -> Array:
        """Share of a class that is found, (R, K); NaN where it does not occur."""
        return divide(self.right_RK, self.true_RK)

    def precision(self) -> Array:
        """Share of what is said to be a class that is, (R, K); NaN where none is said to be."""
        return divide(self.right_RK, self.said_RK)

    def total(self) -> "ClassCounts":
        """All classes as one, for micro averages: (R, 1)."""
        parts = (self.right_RK, self.true_RK, self.said_RK)
        return ClassCounts(*(part_RK.sum(1, keepdims=True) for part_RK in parts))


def _macro_f1_of_labels(counts: ClassCounts) -> Array:
    # A label that is said but never true is left out: it has no average precision either.
    return mean_of(np.where(counts.true_RK > 0, counts.f1(), np.nan))


_FORMULAS: dict[str, Callable[[ClassCounts], Array]] = {
    "accuracy": lambda counts: counts.total().recall()[:, 0],
    "macro_accuracy": lambda counts: mean_of(counts.recall()),
    "macro_f1": lambda counts: mean_of(counts.f1()),
    "miou": lambda counts: mean_of(counts.iou()),
    "micro_iou": lambda counts: counts.total().iou()[:, 0],
}
_LABEL_FORMULAS: dict[str, Callable[[ClassCounts], Array]] = {
    "macro_f1": _macro_f1_of_labels,
    "micro_f1": lambda counts: counts.total().f1()[:, 0],
}


class CountScores:
    """Scores that follow from the counts of weighted samples.

    Args:
        right_NK, true_NK, said_NK: The counts of every sample.
        task: Says which scores.
    """

    def __init__(
        self,
        right_NK: NDArray[np.generic],
        true_NK: NDArray[np.generic],
        said_NK: NDArray[np.generic],
        *,
        task: Task,
    ) -> None:
        formulas = _LABEL_FORMULAS if task.multi_label else _FORMULAS
        self.formulas = {name: formulas[name] for name in metrics_of(task) if name in formulas}
        self.metrics: Sequence[str] = tuple(self.formulas)
        self.columns_NS = np.concatenate([right_NK, true_NK, said_NK], axis=1).astype(np.float64)

    def count(self, weights_RN: Array) -> ClassCounts:
        """The counts under each row of weights."""
        return ClassCounts(*np.split(weights_RN @ self.columns_NS, 3, axis=1))

    def __call__(self, weights_RN: Array) -> dict[str, Array]:
        """Every score under each row of weights; NaN where nothing has weight."""
        counts = self.count(weights_RN)
        return {name: formula(counts) for name, formula in self.formulas.items()}


def divide(above: Array, below: Array) -> Array:
    """The quotient; NaN where the divisor is 0."""
    return np.divide(above, below, out=np.full_like(above, np.nan), where=below > 0)


def mean_of(values_RK: Array) -> Array:
    """Mean over the classes that have a value, (R,); NaN where none has."""
    counted_RK = ~np.isnan(values_RK)
    return divide(np.where(counted_RK, values_RK, 0).sum(1), counted_RK.sum(1).astype(np.float64))
