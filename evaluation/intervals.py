"""How sure a score is: bootstrap intervals, and the paired difference of two encoders.

Test samples are drawn anew, with replacement, and everything is scored again; where samples come in
groups (places, flights), whole groups are drawn, because samples of a group are alike. Seeds are
drawn as well, crossed with the samples (Owen 2007, "The pigeonhole bootstrap").

Limits of a score are percentiles of the resampled scores, corrected for their bias (Efron and
Tibshirani 1993, section 14.3, without acceleration). Plain percentiles lie too high for average
precision and calibration error, which grow with the copies in a resample. No resampling mends what
a small test set does to the score itself: the average precision of a label with a handful of
samples is too high, and noise keeps the calibration error of a well-calibrated encoder above zero.

Shape suffixes: S seeds, R resamples.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from evaluation._drawing import draw_samples, draw_seeds, number_units
from evaluation.predictions import Predictions
from evaluation.scores import Scorer
from evaluation.tasks import Task
from sensors import InputError

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """A score and where it lies.

    Args:
        value: The score of the whole test set, as the mean over the seeds.
        low, high: Limits; NaN where there is a single unit, which says nothing about others.
        resamples: How many were drawn.
        unit: What was drawn: `samples` or `groups`.
        units: How many there are of them.
    """

    value: float
    low: float
    high: float
    resamples: int
    unit: str
    units: int


@dataclass(frozen=True)
class Difference:
    """By how much one encoder scores above another on the same samples.

    Args:
        value: First score minus second.
        low, high: Limits; NaN where there is a single unit.
        p_value: Two-sided, of no difference; NaN where there is a single unit.
    """

    value: float
    low: float
    high: float
    p_value: float


@dataclass(frozen=True, eq=False)
class Resampled:
    """The scores of one encoder in every resample; made by `resample`.

    The same samples are drawn for every encoder, so one of these serves the encoder's own intervals
    and all its comparisons.

    Args:
        task, ids, groups: As in its predictions.
        values: Score of the whole test set by metric, as the mean over the seeds.
        draws: Score in every resample by metric, (R,).
        seed: Of the drawing.
    """

    task: Task
    ids: tuple[str, ...]
    groups: tuple[str, ...] | None
    values: Mapping[str, float]
    draws: Mapping[str, Array]
    seed: int

    @property
    def units(self) -> int:
        """How many samples, or groups of samples, there are to draw from."""
        return len(self.ids if self.groups is None else set(self.groups))

    def interval(self, metric: str, level: float = 0.95) -> Interval:
        """The interval of one score.

        Args:
            metric: One of those resampled.
            level: Share of the resampled scores between the limits.

        Raises:
            InputError: If the metric was not resampled.
        """
        value, draws_R = self._get(metric)
        low, high = _corrected_limits(value, draws_R, level) if self.units > 1 else _UNKNOWN
        unit = "samples" if self.groups is None else "groups"
        return Interval(value, low, high, len(draws_R), unit, self.units)

    def compare(self, other: "Resampled", metric: str, level: float = 0.95) -> Difference:
        """The difference to another encoder, resample by resample.

        Limits are plain percentiles, and the p-value is twice the smaller share of resampled
        differences at or beyond zero, counting the observed one (Davison and Hinkley 1997, section
        4.2). Where both have as many seeds, these are drawn in pairs too, because a seed also
        picks the few labels that both are given.

        Args:
            other: What its score is taken from this one's.
            metric: One of those resampled.
            level: Share of the resampled differences between the limits.

        Raises:
            InputError: If the metric was not resampled, or the other was resampled from other
                samples, or otherwise.
        """
        _check_same([self, other])
        value, draws_R = self._get(metric)
        other_value, other_R = other._get(metric)
        if (self.seed, len(draws_R)) != (other.seed, len(other_R)):
            raise InputError(
                f"{len(draws_R)} resamples of seed {self.seed} cannot be compared with "
                f"{len(other_R)} of seed {other.seed}: draw both alike"
            )
        difference_R = draws_R - other_R
        difference_R = difference_R[np.isfinite(difference_R)]
        if self.units == 1 or not len(difference_R):
            return Difference(value - other_value, *_UNKNOWN, np.nan)
        low, high = np.quantile(difference_R, [(1 - level) / 2, (1 + level) / 2]).tolist()
        tail = 1 + min((difference_R <= 0).sum(), (difference_R >= 0).sum())
        p_value = min(1.0, 2 * float(tail) / (len(difference_R) + 1))
        return Difference(value - other_value, low, high, p_value)

    def _get(self, metric: str) -> tuple[float, Array]:
        if metric not in self.values:
            raise InputError(
                f"metric {metric!r} is not one of those resampled: {', '.join(self.values)}"
            )
        return self.values[metric], self.draws[metric]


def resample(
    predictions: Sequence[Predictions],
    metrics: Sequence[str] | None = None,
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> Resampled:
    """Score many resamples of the test set.

    Args:
        predictions: Of one encoder, one for each seed, all of the same test samples.
        metrics: Which scores; all there are for the task if not given.
        resamples: How many to draw.
        seed: Of the drawing.

    Raises:
        InputError: If there are no predictions, they are not of the same samples, or a metric is
            unknown.
    """
    if not predictions:
        raise InputError("there are no predictions: expected one for each seed")
    _check_same(predictions)
    first = predictions[0]
    scorers = [Scorer(one, metrics) for one in predictions]
    whole = _score_seeds(scorers, np.ones((1, len(first.ids))))
    unit_N = number_units(len(first.ids), first.groups)
    parts = [_score_seeds(scorers, weights) for weights in draw_samples(unit_N, resamples, seed)]
    share_SR = draw_seeds(len(scorers), resamples, seed).T
    draws = {
        name: (share_SR * np.concatenate([part[name] for part in parts], axis=1)).sum(0)
        for name in whole
    }
    values = {name: float(value_SR.mean()) for name, value_SR in whole.items()}
    return Resampled(first.task, first.ids, first.groups, values, draws, seed)


def intervals(
    predictions: Sequence[Predictions],
    metrics: Sequence[str] | None = None,
    *,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, Interval]:
    """Intervals of several scores from the same resamples, see `resample`."""
    resampled = resample(predictions, metrics, resamples=resamples, seed=seed)
    return {name: resampled.interval(name, level) for name in resampled.values}


def interval(
    predictions: Sequence[Predictions],
    metric: str,
    *,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """The interval of one score, see `resample`."""
    return intervals(predictions, [metric], resamples=resamples, level=level, seed=seed)[metric]


def compare(
    first: Sequence[Predictions],
    second: Sequence[Predictions],
    metric: str,
    *,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Difference:
    """The difference of one encoder's score to another's, see `Resampled.compare`."""
    resampled, other = (
        resample(predictions, [metric], resamples=resamples, seed=seed)
        for predictions in (first, second)
    )
    return resampled.compare(other, metric, level)


_UNKNOWN = (np.nan, np.nan)


def _score_seeds(scorers: Sequence[Scorer], weights_RN: Array) -> dict[str, Array]:
    """Every metric, (S, R)."""
    scores = [scorer(weights_RN) for scorer in scorers]
    return {name: np.stack([one[name] for one in scores]) for name in scores[0]}


def _corrected_limits(value: float, draws_R: Array, level: float) -> tuple[float, float]:
    """Bias-corrected percentiles of the resamples in which the score is defined.

    With a handful of samples the correction may move past the score itself; the limits hold it.
    """
    defined_R = draws_R[np.isfinite(draws_R)]
    if not len(defined_R) or not np.isfinite(value):
        return _UNKNOWN
    below = ((defined_R < value).mean() + (defined_R <= value).mean()) / 2
    least = 0.5 / len(defined_R)
    bias = norm.ppf(np.clip(below, least, 1 - least))
    tails = norm.ppf([(1 - level) / 2, (1 + level) / 2])
    low, high = np.quantile(defined_R, norm.cdf(2 * bias + tails)).tolist()
    return min(low, value), max(high, value)


def _check_same(given: Sequence[Predictions] | Sequence[Resampled]) -> None:
    first = given[0]
    for other in given[1:]:
        if other.task != first.task:
            raise InputError(f"predictions are of two tasks: {first.task} and {other.task}")
        if other.ids != first.ids or other.groups != first.groups:
            raise InputError(
                f"predictions are not of the same samples: {len(first.ids)} and {len(other.ids)}, "
                f"{len(set(first.ids) & set(other.ids))} of them in both; expected the same ids "
                "and groups in the same order"
            )
