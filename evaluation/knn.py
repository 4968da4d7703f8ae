"""k nearest neighbours on frozen features.

Shape suffixes: N samples, D features, K classes or targets.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.neighbors import KNeighborsRegressor

from evaluation.tasks import Task
from sensors import InputError

DISTANCES = ("cosine", "euclidean")


class KNNModel:
    """The mean answer of the k nearest training samples, features as they are.

    A class number counts as one flag a class. The mean of the neighbours' flags is their vote, so
    one regressor is the classifier, the multi-label classifier and the regressor at once: it gives
    what scikit-learn's `KNeighborsClassifier` gives as `predict_proba`, with a column of zeros for
    a class without a training sample.

    Args:
        task: What the targets are.
        features_ND: Training features.
        targets: Class numbers (N,), flags (N, K) or values (N, K).
        k: Number of neighbours.
        distance: `cosine` or `euclidean`.

    Raises:
        InputError: If there are fewer training samples than neighbours, or the distance is unknown.
    """

    def __init__(
        self,
        task: Task,
        features_ND: NDArray[np.float32],
        targets: NDArray[Any],
        *,
        k: int = 5,
        distance: str = "cosine",
    ) -> None:
        if distance not in DISTANCES:
            raise InputError(f"probe.distance {distance!r} is not one of {', '.join(DISTANCES)}")
        if not 1 <= k <= len(features_ND):
            raise InputError(
                f"probe.k={k} neighbours of {len(features_ND)} training samples: "
                f"expected 1 to {len(features_ND)}"
            )
        self.hyperparameters: dict[str, Any] = {"k": k, "distance": distance}
        answers_NK = np.eye(len(task.classes))[targets] if targets.ndim == 1 else targets
        # Brute force: trees do not pay in hundreds of dimensions, and know no cosine.
        self._neighbors = KNeighborsRegressor(k, metric=distance, algorithm="brute")
        self._neighbors.fit(features_ND, answers_NK)

    def predict(self, features_ND: NDArray[np.float32]) -> NDArray[np.float32]:
        """Share of the neighbours' votes, or the mean of their values, (N, K)."""
        answers_NK: NDArray[np.float32] = self._neighbors.predict(features_ND).astype(np.float32)
        return answers_NK
