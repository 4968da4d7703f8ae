"""One number for many data sets, three ways that are in use.

Each is a mean over the data sets an encoder was scored on; what is missing is left out and counted,
and so is a data set with a single encoder, which compares nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from sensors import InputError

Score = tuple[float, str]
"""A score and its direction, `max` or `min`."""


@dataclass(frozen=True)
class Aggregate:
    """How an encoder does over several data sets.

    Args:
        normalised_mean: Mean of scores that are 0 for the worst and 1 for the best of the compared
            encoders on each data set, as GEO-Bench normalises (Lacoste et al. 2023, section 4).
        average_rank: Mean rank, 1 for the best; equals share the mean of their ranks (Demsar 2006,
            "Statistical Comparisons of Classifiers over Multiple Data Sets", section 3.2.2).
        distance_to_best: Mean gap to the best encoder of each data set: in points (hundredths) for
            scores, in percent of the best for errors, which have units of their own.
        data_sets: Number of data sets these means are over.
        of: Number of data sets there are.
    """

    normalised_mean: float
    average_rank: float
    distance_to_best: float
    data_sets: int
    of: int


def aggregate(scores: Mapping[str, Mapping[str, Score]]) -> dict[str, Aggregate]:
    """Compare encoders over data sets.

    Args:
        scores: Encoder to data set to score and direction; what was not scored is left out.

    Returns:
        For each encoder its means; NaN where it was compared on no data set.

    Raises:
        InputError: If a score is not finite, or a data set has two directions.
    """
    names = list(dict.fromkeys(name for given in scores.values() for name in given))
    gathered: dict[str, list[tuple[float, float, float]]] = {encoder: [] for encoder in scores}
    for name in names:
        column = {encoder: given[name] for encoder, given in scores.items() if name in given}
        _check_column(name, column)
        if len(column) > 1:
            for encoder, values in _compare(column).items():
                gathered[encoder].append(values)
    return {encoder: _summarise(values, of=len(names)) for encoder, values in gathered.items()}


def _compare(column: Mapping[str, Score]) -> dict[str, tuple[float, float, float]]:
    """Normalised score, rank and distance to the best on one data set."""
    values = np.array([value for value, _ in column.values()])
    (direction,) = {direction for _, direction in column.values()}
    gain = values if direction == "max" else -values
    gap = gain.max() - gain
    # Where all are equal, none is worse than the best.
    normalised = 1 - gap / gap.max() if gap.max() > 0 else np.ones_like(gap)
    best = abs(gain.max())
    unit = 1.0 if direction == "max" else best
    distance = 100 * np.divide(gap, unit, out=np.where(gap > 0, np.inf, 0.0), where=unit > 0)
    rows = np.stack([normalised, rankdata(-gain), distance], axis=1)
    return {encoder: tuple(row) for encoder, row in zip(column, rows.tolist(), strict=True)}


def _summarise(values: list[tuple[float, float, float]], of: int) -> Aggregate:
    means = np.mean(values, axis=0) if values else np.full(3, np.nan)
    normalised, rank, distance = means.tolist()
    return Aggregate(normalised, rank, distance, data_sets=len(values), of=of)


def _check_column(name: str, column: Mapping[str, Score]) -> None:
    directions = {direction for _, direction in column.values()}
    if len(directions) > 1 or not directions <= {"max", "min"}:
        raise InputError(
            f"{name}: directions are {', '.join(sorted(directions))}; expected `max` or `min`, "
            "the same for all encoders"
        )
    for encoder, (value, _) in column.items():
        if not np.isfinite(value):
            raise InputError(
                f"{name}: the score of {encoder} is {value}; leave out what was not scored"
            )
