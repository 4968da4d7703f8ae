"""How sure a score is: bootstrap intervals, and the paired difference of two encoders.

Test samples are drawn anew, with replacement, and everything is scored again; where samples come in
groups (places, flights), whole groups are drawn, because samples of a group are alike. Seeds are
drawn as well, crossed with the samples (Owen 2007, "The pigeonhole bootstrap"). Of n things n - 1
are drawn, which makes the spread unbiased where n is small (Rao and Wu 1988, "Resampling inference
with complex survey data"). Limits are percentiles of the resampled scores (Efron and Tibshirani
1993, chapter 13).

Shape suffixes: N samples, S seeds, R resamples, U units that are drawn (samples or groups).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluation.predictions import Predictions
from evaluation.scores import Scorer
from sensors import InputError

Array = NDArray[np.float64]

_BLOCK = 2**19
"""Weights held at a time, so that memory does not grow with the number of resamples."""


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


def intervals(
    predictions: Sequence[Predictions],
    metrics: Sequence[str] | None = None,
    *,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, Interval]:
    """Intervals of several scores from the same resamples.

    Args:
        predictions: Of one encoder, one for each seed, all of the same test samples.
        metrics: Which scores; all there are for the task if not given.
        resamples: How many to draw.
        level: Share of the resampled scores between the limits.
        seed: Of the drawing.

    Raises:
        InputError: If there are no predictions, they are not of the same samples, or a metric is
            unknown.
    """
    _check([predictions])
    unit_N, unit = _units(predictions[0])
    units = int(unit_N.max()) + 1
    result = {}
    for name, (value, draws_R) in _bootstrap([predictions], metrics, resamples, seed)[0].items():
        low, high = _limits(draws_R, level) if units > 1 else (np.nan, np.nan)
        result[name] = Interval(value, low, high, resamples, unit, units)
    return result


def interval(
    predictions: Sequence[Predictions],
    metric: str,
    *,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """The interval of one score, see `intervals`."""
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
    """The difference of two encoders, both scored on the same drawn samples.

    The p-value is twice the smaller share of resampled differences at or beyond zero, counting the
    observed one (Davison and Hinkley 1997, section 4.2). Where both have as many seeds, seeds are
    drawn in pairs too, because a seed also picks the few labels that both are given.

    Args:
        first: Predictions of one encoder, one for each seed, all of the same samples.
        second: Those of the other.
        metric: Which score.
        resamples: How many to draw.
        level: Share of the resampled differences between the limits.
        seed: Of the drawing.

    Raises:
        InputError: As for `intervals`.
    """
    _check([first, second])
    unit_N, _ = _units(first[0])
    (value, draws_R), (other, other_R) = (
        scores[metric] for scores in _bootstrap([first, second], [metric], resamples, seed)
    )
    if unit_N.max() == 0:
        return Difference(value - other, np.nan, np.nan, np.nan)
    difference_R = draws_R - other_R
    difference_R = difference_R[np.isfinite(difference_R)]
    low, high = _limits(difference_R, level)
    tail = 1 + min((difference_R <= 0).sum(), (difference_R >= 0).sum())
    return Difference(value - other, low, high, min(1.0, 2 * float(tail) / (len(difference_R) + 1)))


def _bootstrap(
    encoders: Sequence[Sequence[Predictions]],
    metrics: Sequence[str] | None,
    resamples: int,
    seed: int,
) -> list[dict[str, tuple[float, Array]]]:
    """For each encoder and metric, its score and its resampled scores, (R,)."""
    # Samples and seeds have generators of their own: neither depends on how many of the other.
    for_samples, for_seeds = np.random.default_rng(seed).spawn(2)
    scorers = [[Scorer(one, metrics) for one in seeds] for seeds in encoders]
    unit_N, _ = _units(encoders[0][0])
    whole = [_score_seeds(group, np.ones((1, len(unit_N)))) for group in scorers]
    parts: list[list[dict[str, Array]]] = [[] for _ in scorers]
    for weights_RN in _draw_weights(unit_N, resamples, for_samples):
        for kept, group in zip(parts, scorers, strict=True):
            kept.append(_score_seeds(group, weights_RN))
    shares = {
        count: _draw(count, resamples, for_seeds) / max(count - 1, 1)
        for count in sorted({len(group) for group in scorers})
    }
    results = []
    for group, first, kept in zip(scorers, whole, parts, strict=True):
        share_RS = shares[len(group)]
        results.append(
            {
                name: (
                    float(value_SR.mean()),
                    (share_RS.T * np.concatenate([part[name] for part in kept], axis=1)).sum(0),
                )
                for name, value_SR in first.items()
            }
        )
    return results


def _score_seeds(scorers: Sequence[Scorer], weights_RN: Array) -> dict[str, Array]:
    """Every metric, (S, R)."""
    scores = [scorer(weights_RN) for scorer in scorers]
    return {name: np.stack([one[name] for one in scores]) for name in scores[0]}


def _draw_weights(
    unit_N: NDArray[np.int64], resamples: int, generator: np.random.Generator
) -> Iterator[Array]:
    """Blocks of rows that say how often each sample was drawn."""
    units = int(unit_N.max()) + 1
    size = max(1, _BLOCK // len(unit_N))
    for start in range(0, resamples, size):
        yield _draw(units, min(size, resamples - start), generator)[:, unit_N]


def _draw(units: int, resamples: int, generator: np.random.Generator) -> Array:
    """How often each of the units comes in n - 1 draws, (R, U)."""
    drawn_RU = generator.integers(units, size=(resamples, max(units - 1, 1)))
    drawn_RU += units * np.arange(resamples)[:, None]
    counts = np.bincount(drawn_RU.ravel(), minlength=resamples * units)
    return counts.reshape(resamples, units).astype(np.float64)


def _units(predictions: Predictions) -> tuple[NDArray[np.int64], str]:
    """The number of each sample's unit, (N,), and what the units are."""
    if predictions.groups is None:
        return np.arange(len(predictions.ids)), "samples"
    _, unit_N = np.unique(predictions.groups, return_inverse=True)
    return unit_N, "groups"


def _limits(draws_R: Array, level: float) -> tuple[float, float]:
    """Percentiles of the resamples in which the score is defined."""
    defined_R = draws_R[np.isfinite(draws_R)]
    if not len(defined_R):
        return np.nan, np.nan
    low, high = np.quantile(defined_R, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _check(encoders: Sequence[Sequence[Predictions]]) -> None:
    if not all(encoders):
        raise InputError("there are no predictions: expected one for each seed")
    everything = [predictions for seeds in encoders for predictions in seeds]
    first = everything[0]
    for other in everything[1:]:
        if other.task != first.task:
            raise InputError(f"predictions are of two tasks: {first.task} and {other.task}")
        if other.ids != first.ids or other.groups != first.groups:
            raise InputError(
                f"predictions are not of the same samples: {len(first.ids)} and {len(other.ids)}, "
                f"{len(set(first.ids) & set(other.ids))} of them in both; expected the same ids "
                "and groups in the same order"
            )
