"""Average precision of weighted samples.

Shape suffixes: N samples, M ranked items (a sample, or a sample and class), P items that are true,
K classes, R resamples.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from evaluation._counts import divide, mean_of

Array = NDArray[np.float64]


class Ranking:
    """Items in falling order of their probability; only the weights change from call to call.

    Args:
        probability_M: Probability that an item is true.
        true_M: Whether it is.
        row_M: The sample whose weight it has.
    """

    def __init__(
        self,
        probability_M: NDArray[np.float32],
        true_M: NDArray[np.bool_],
        row_M: NDArray[np.int64],
    ) -> None:
        order_M = np.argsort(-probability_M, kind="stable")
        falling_M = -probability_M[order_M]
        self.row_M = row_M[order_M]
        self.hit_P = np.flatnonzero(true_M[order_M])
        # Items of one probability are told apart by no threshold: all of them count at once.
        self.end_P = np.searchsorted(falling_M, falling_M[self.hit_P], side="right") - 1
        self.last_P = np.searchsorted(self.hit_P, self.end_P, side="right") - 1

    def average_precision(self, weights_RN: Array) -> Array:
        """Mean precision over the true items, each at its own threshold, (R,); NaN without any.

        The sum over thresholds of the gain in recall times the precision, as scikit-learn and
        torchmetrics define it.
        """
        weights_RM = weights_RN.take(self.row_M, axis=1)
        hits_RP = weights_RM[:, self.hit_P]
        said_RP = weights_RM.cumsum(axis=1)[:, self.end_P]
        right_RP = hits_RP.cumsum(axis=1)[:, self.last_P]
        # A true item of weight 0 may stand where nothing else has weight: it adds 0.
        precision_RP = right_RP / np.where(said_RP > 0, said_RP, 1)
        return divide((hits_RP * precision_RP).sum(1), hits_RP.sum(1))


class MacroAveragePrecision:
    """Mean over the classes that occur of the average precision of each.

    Args:
        probability_NK: Probability of every class.
        true_NK: Whether a sample has the class.
    """

    metrics: Sequence[str] = ("map",)

    def __init__(self, probability_NK: NDArray[np.float32], true_NK: NDArray[np.bool_]) -> None:
        row_N = np.arange(len(true_NK))
        self.rankings = [
            Ranking(probability_N, true_N, row_N)
            for probability_N, true_N in zip(probability_NK.T, true_NK.T, strict=True)
        ]

    def by_class(self, weights_RN: Array) -> Array:
        """Average precision of every class, (R, K); NaN where one does not occur."""
        return np.stack(
            [ranking.average_precision(weights_RN) for ranking in self.rankings], axis=1
        )

    def __call__(self, weights_RN: Array) -> dict[str, Array]:
        """The mean under each row of weights."""
        return {"map": mean_of(self.by_class(weights_RN))}


class MicroAveragePrecision:
    """Average precision of all pairs of a sample and a class, ranked together.

    Args:
        probability_NK: Probability of every class.
        true_NK: Whether a sample has the class.
    """

    metrics: Sequence[str] = ("micro_map",)

    def __init__(self, probability_NK: NDArray[np.float32], true_NK: NDArray[np.bool_]) -> None:
        row_M = np.repeat(np.arange(len(true_NK)), true_NK.shape[1])
        self.ranking = Ranking(probability_NK.ravel(), true_NK.ravel(), row_M)

    def __call__(self, weights_RN: Array) -> dict[str, Array]:
        """The precision under each row of weights."""
        return {"micro_map": self.ranking.average_precision(weights_RN)}
