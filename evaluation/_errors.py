"""Regression errors as sums over samples.

Shape suffixes: N samples, K targets, P pixels of a sample (1 for a scene), R resamples.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_RESOLUTION = float(np.finfo(np.float32).eps)


def error_sums(prediction_NKP: NDArray[np.float32], target_NKP: NDArray[np.float32]) -> Array:
    """What each sample adds to the errors, for each target.

    A pixel with an unknown (NaN) target counts for none of the targets.

    Returns:
        Per sample and target: number of values, squared error, absolute error, mean of the target,
        and squared deviation from that mean: (N, K, 5). The last two are kept apart because plain
        sums of squares far from zero (kelvin) lose the variance.
    """
    prediction, target = prediction_NKP.astype(np.float64), target_NKP.astype(np.float64)
    known_NKP = np.broadcast_to(np.isfinite(target).all(1, keepdims=True), target.shape)
    target = np.where(known_NKP, target, 0)
    error_NKP = np.where(known_NKP, prediction - target, 0)
    count_NK = known_NKP.sum(-1)
    mean_NK = target.sum(-1) / np.maximum(count_NK, 1)
    deviation_NKP = np.where(known_NKP, target - mean_NK[..., None], 0)
    return np.stack(
        [
            count_NK,
            (error_NKP**2).sum(-1),
            np.abs(error_NKP).sum(-1),
            mean_NK,
            (deviation_NKP**2).sum(-1),
        ],
        axis=-1,
    )


class Errors:
    """Errors of weighted samples, for each target and averaged over them.

    `rmse` is the root of the mean squared error, `mae` the mean absolute error, `r2` one minus the
    squared error over the squared deviation of the targets from their mean; R2 is NaN of fewer than
    two values, and of values that are all the same.

    Args:
        sums_NK5: What `error_sums` gives.
    """

    metrics: Sequence[str] = ("rmse", "mae", "r2")

    def __init__(self, sums_NK5: Array) -> None:
        count_NK, squared_NK, absolute_NK, mean_NK, deviation_NK = np.moveaxis(sums_NK5, -1, 0)
        self.targets = count_NK.shape[1]
        # Deviations are summed about a point near the mean, where no digit is lost.
        center_K = (count_NK * mean_NK).sum(0) / np.maximum(count_NK.sum(0), 1)
        shift_NK = np.where(count_NK > 0, mean_NK - center_K, 0)
        self.smallest_K = (_RESOLUTION * np.abs(mean_NK).max(0)) ** 2
        self.columns_NS = np.concatenate(
            [
                count_NK,
                squared_NK,
                absolute_NK,
                count_NK * shift_NK,
                deviation_NK + count_NK * shift_NK**2,
            ],
            axis=1,
        )

    def by_target(self, weights_RN: Array) -> tuple[dict[str, Array], Array]:
        """Every error of every target, and the number of values, (R, K)."""
        sums_R5K = (weights_RN @ self.columns_NS).reshape(len(weights_RN), 5, self.targets)
        count_RK, squared_RK, absolute_RK, shift_RK, about_RK = np.moveaxis(sums_R5K, 1, 0)
        with np.errstate(invalid="ignore", divide="ignore"):
            total_RK = about_RK - shift_RK**2 / count_RK
            varies_RK = (count_RK >= 2) & (total_RK > count_RK * self.smallest_K)
            errors = {
                "rmse": np.sqrt(squared_RK / count_RK),
                "mae": absolute_RK / count_RK,
                "r2": np.where(varies_RK, 1 - squared_RK / total_RK, np.nan),
            }
        return errors, count_RK

    def __call__(self, weights_RN: Array) -> dict[str, Array]:
        """Every error under each row of weights, as the mean over the targets."""
        errors, _ = self.by_target(weights_RN)
        return {name: value_RK.mean(1) for name, value_RK in errors.items()}
