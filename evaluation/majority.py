"""The lowest floor: what a model says that knows nothing but the training labels.

Shape suffixes: N samples, K classes or targets, B batch, H height, W width.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluation.features import Features
from evaluation.tasks import Task
from rasters import IGNORE_INDEX
from sensors import InputError


class Majority:
    """Says of everything how frequent each class is, or the mean of each target.

    Args:
        task: What is asked.
        targets: Of the training samples.

    Raises:
        InputError: If nothing is labelled.
    """

    def __init__(self, task: Task, targets: NDArray[Any]) -> None:
        self.task = task
        self.hyperparameters: dict[str, Any] = {}
        count = len(task.classes)
        if task.kind == "regression":
            values_NK = np.moveaxis(targets, 1, -1).reshape(-1, count).astype(np.float64)
            known_NK = values_NK[np.isfinite(values_NK).all(axis=1)]
            total, sums_K = len(known_NK), known_NK.sum(axis=0)
        elif task.multi_label:
            total, sums_K = len(targets), targets.sum(axis=0)
        else:
            labels = targets[targets != IGNORE_INDEX]
            total, sums_K = len(labels), np.bincount(labels, minlength=count)
        if total == 0:
            raise InputError("no training sample has a label")
        self.value_K: NDArray[np.float32] = (sums_K / total).astype(np.float32)

    def predict(self, features: Features) -> Any:  # noqa: ANN401 - as every probe, by its task
        """The same for every sample, as `FittedProbe.predict` gives it."""
        if not self.task.per_pixel:
            return np.repeat(self.value_K[None], len(features.ids), axis=0)
        return self._predict_pixels(features)

    def _predict_pixels(
        self, features: Features
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        shape = (1, len(self.value_K), *features.targets.shape[-2:])
        answer_BKHW = np.broadcast_to(self.value_K[None, :, None, None], shape)
        for index in range(len(features.ids)):
            yield np.array([index]), answer_BKHW
