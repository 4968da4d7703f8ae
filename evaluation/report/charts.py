"""Where marks stand on an axis, in percent of its length, so that a chart fits any width."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from matplotlib.ticker import LogLocator, MaxNLocator

from evaluation.report._results import Score
from evaluation.report._words import MINUS

_TICKS = 4  # intervals between ticks at most: their labels fit a phone
_LOG_TICKS = 6
_ALL = 100  # the locator thins out by rules of its own, sometimes to none
_LOG_STEPS = ((1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8), (1, 2, 5), (1, 3), (1,))
_LEAST_SPAN = 0.01  # of the values' size: an axis of equal values still has a length
_NOTHING = 1e-9  # what differences of equal scores amount to


@dataclass(frozen=True)
class Axis:
    """A scale from `low` to `high`, linear or logarithmic.

    Args:
        low: Value at 0 %.
        high: Value at 100 %.
        ticks: Where labels stand: percent and text.
        is_log: Whether equal ratios, not equal differences, take equal lengths.
    """

    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]
    is_log: bool = False

    def at(self, value: float) -> float:
        """Place of a value in percent; outside 0..100 where the axis does not reach it."""
        place = _place(self.low, self.high, self.is_log)(value)
        return round(place, 1)


@dataclass(frozen=True)
class Mark:
    """A dot and its whisker in percent; `off` is `left` or `right` of an axis that ends before."""

    at: float
    low: float
    high: float
    off: str = ""


def linear_axis(values: Iterable[float]) -> Axis:
    """The shortest axis that holds all values and begins and ends at a tick.

    Args:
        values: At least one finite number.
    """
    found = list(values)
    low, high = min(found), max(found)
    size = max(abs(low), abs(high))
    least = _LEAST_SPAN * (size if size > _NOTHING else 1.0)
    if high - low < least:
        low, high = low - least / 2, high + least / 2
    ticks = MaxNLocator(nbins=_TICKS, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
    # The locator may add a tick beyond the ones that hold the values.
    first = max(number for number, tick in enumerate(ticks) if tick <= low + 1e-12)
    last = min(number for number, tick in enumerate(ticks) if tick >= high - 1e-12)
    kept = [float(tick) for tick in ticks[first : last + 1]]
    place = _place(kept[0], kept[-1], is_log=False)
    step = kept[1] - kept[0]
    labels = tuple((round(place(tick), 2), _label(tick, step)) for tick in kept)
    return Axis(kept[0], kept[-1], labels)


def log_axis(values: Iterable[float]) -> Axis:
    """A logarithmic axis with room on both sides, ticks at round numbers.

    Args:
        values: At least one positive number.
    """
    found = list(values)
    low, high = min(found) / 1.4, max(found) * 1.4
    place = _place(low, high, is_log=True)
    for subs in _LOG_STEPS:
        ticks = LogLocator(subs=subs, numticks=_ALL).tick_values(low, high)
        ticks = [float(tick) for tick in ticks if low <= tick <= high]
        if len(ticks) <= _LOG_TICKS:
            break
    thinned = ticks[:: math.ceil(len(ticks) / _LOG_TICKS)]
    return Axis(low, high, tuple((round(place(tick), 1), _power(tick)) for tick in thinned), True)


def mark(axis: Axis, score: Score) -> Mark:
    """A score on an axis; a whisker is cut where the axis ends."""
    low, high = score.span
    at = axis.at(score.value)
    off = "left" if at < 0 else "right" if at > 100 else ""
    return Mark(_clip(at), _clip(axis.at(low)), _clip(axis.at(high)), off)


def steps(points: Iterable[tuple[float, float]]) -> str:
    """A staircase through points in percent, from left to right, as an SVG polyline."""
    corners: list[tuple[float, float]] = []
    for x, y in points:
        if corners:
            corners.append((x, corners[-1][1]))
        corners.append((x, y))
    corners += [(100, corners[-1][1])] if corners else []
    return " ".join(f"{x:.1f},{100 - y:.1f}" for x, y in corners)


def frontier(points: Sequence[tuple[float, float]]) -> list[int]:
    """The points that no other one beats in both: cheaper and better (Pareto frontier).

    Args:
        points: Cost, where less is better, and quality, where more is.

    Returns:
        Their numbers, cheapest first.
    """
    kept: list[int] = []
    for number in sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1])):
        if not kept or points[number][1] > points[kept[-1]][1]:
            kept.append(number)
    return kept


def _place(low: float, high: float, is_log: bool) -> Callable[[float], float]:
    scale: Callable[[float], float] = math.log10 if is_log else float
    start, length = scale(low), scale(high) - scale(low)
    return lambda value: 100 * (scale(value) - start) / length


def _clip(percent: float) -> float:
    return min(max(percent, 0.0), 100.0)


def _label(tick: float, step: float) -> str:
    decimals = max(-math.floor(math.log10(step) + 1e-9), 0)
    if round(step, decimals) != round(step, 9):  # a step of 0.025
        decimals += 1
    text = f"{tick:,.{decimals}f}"
    return (text if float(text.replace(",", "")) else text.lstrip("-")).replace("-", MINUS)


def _power(tick: float) -> str:
    for size, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if tick >= size * 0.999:
            return f"{tick / size:g} {prefix}"
    return f"{tick:.4g}"
