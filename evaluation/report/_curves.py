"""Few labels: quality over the number of labelled training samples, one chart a data set."""

from dataclasses import dataclass

from evaluation.report._panels import data_title
from evaluation.report._results import Results, Score
from evaluation.report._words import full, metric_title
from evaluation.report.charts import Axis, Mark, linear_axis, log_axis, mark

_SPREAD = 14  # percent of the width over which the encoders at one size stand side by side


@dataclass(frozen=True)
class Point:
    """One encoder at one size: place in percent (`mark` upwards), and the number with interval."""

    x: float
    mark: Mark
    text: str


@dataclass(frozen=True)
class Curve:
    """One encoder's points, fewest labels first; a size without a number has None.

    `color` is its number among all encoders, so that it has the same colour in every chart.
    """

    name: str
    group: str
    color: int
    points: list[Point | None]

    @property
    def path(self) -> str:
        """The line through all points, as an SVG polyline in percent."""
        found = (point for point in self.points if point is not None)
        return " ".join(f"{point.x:.1f},{100 - point.mark.at:.1f}" for point in found)


@dataclass(frozen=True)
class CurveChart:
    """All encoders on one data set.

    Args:
        title: Data set.
        caption: What is shown, of which protocol.
        sizes: Place in percent and text of each number of samples.
        axis: Of the metric, upwards.
        curves: In the order of the encoders.
    """

    title: str
    caption: str
    sizes: list[tuple[float, str]]
    axis: Axis
    curves: list[Curve]


def curve_charts(results: Results) -> list[CurveChart]:
    """One chart for every data set and protocol of which there are versions with fewer labels."""
    charts = []
    for data in results.data:
        bases = dict.fromkeys(results.base(name) or name for name in results.protocols_of(data))
        for base in bases:
            family = [
                name
                for name in results.protocols_of(data)
                if name == base
                or (results.base(name) == base and results.label_fraction(name) < 1)
            ]
            if len(family) > 1:
                charts.append(_chart(results, data, base, family))
    return charts


def _chart(results: Results, data: str, base: str, family: list[str]) -> CurveChart:
    metric = results.metrics(data, base)[0]
    samples = {name: results.training_samples(data, name) or 1 for name in family}
    family.sort(key=lambda name: samples[name])
    size_axis = log_axis(samples.values())
    scores = {name: results.scores(data, name, metric) for name in family}
    encoders = [name for name in results.encoders if any(name in scores[p] for p in family)]
    axis = linear_axis(
        end for by_name in scores.values() for score in by_name.values() for end in score.span
    )
    step = _SPREAD / max(len(encoders) - 1, 1)

    def point(encoder: str, number: int, protocol: str) -> Point | None:
        score: Score | None = scores[protocol].get(encoder)
        if score is None:
            return None
        x = _inside(size_axis.at(samples[protocol])) + number * step - _SPREAD / 2
        return Point(round(x, 1), mark(axis, score), full(score, metric.name))

    curves = [
        Curve(
            name,
            results.group(name),
            list(results.encoders).index(name),
            [point(name, number, p) for p in family],
        )
        for number, name in enumerate(encoders)
    ]
    title = results.protocols[base]["title"]
    sizes = [
        (_inside(size_axis.at(samples[p])), f"{samples[p]:,} ({results.label_fraction(p):.3g})")
        for p in family
    ]
    return CurveChart(
        data_title(results, data),
        f"{metric_title(metric.name)} over labelled training samples, {title}",
        sizes,
        axis,
        curves,
    )


def _inside(percent: float) -> float:
    """A place on the axis, so that the spread of the first and last size stays on the chart."""
    return round(_SPREAD / 2 + percent * (1 - _SPREAD / 100), 1)
