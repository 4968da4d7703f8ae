"""Few labels: quality over the number of labelled training samples, one chart a data set."""

from dataclasses import dataclass

from evaluation.report._panels import shown_ends
from evaluation.report._results import Results, Score
from evaluation.report._words import full, metric_title
from evaluation.report.charts import Axis, Mark, linear_axis, mark

_SPREAD = 18  # percent of the width over which the encoders at one size stand side by side


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
        found = (p for p in self.points if p is not None and not p.mark.off)
        return " ".join(f"{p.x:.1f},{100 - p.mark.at:.1f}" for p in found)


@dataclass(frozen=True)
class CurveChart:
    """All encoders on one data set.

    Args:
        title: Data set.
        caption: What is shown, of which protocol.
        sizes: Place in percent, share of the labels and number of samples, evenly spaced.
        axis: Of the metric, upwards.
        curves: In the order of the encoders.
    """

    title: str
    caption: str
    sizes: list[tuple[float, str, str]]
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
                if name == base or (results.base(name) == base and results.label_fraction(name) < 1)
            ]
            if len(family) > 1:
                charts.append(_chart(results, data, base, family))
    return charts


def _chart(results: Results, data: str, base: str, family: list[str]) -> CurveChart:
    metric = results.metrics(data, family[0])[0]
    samples = {name: results.training_samples(data, name) or 1 for name in family}
    family.sort(key=results.label_fraction)
    scores = {name: results.scores(data, name, metric) for name in family}
    encoders = [name for name in results.encoders if any(name in scores[p] for p in family)]
    floors = {p: results.best(scores[p], metric, floors=True) for p in family}
    axis = linear_axis(end for p in family for end in shown_ends(results, scores[p], floors[p]))
    step = _SPREAD / max(len(encoders) - 1, 1)
    places = {p: round((number + 0.5) * 100 / len(family), 1) for number, p in enumerate(family)}

    def point(encoder: str, number: int, protocol: str) -> Point | None:
        score: Score | None = scores[protocol].get(encoder)
        if score is None:
            return None
        x = places[protocol] + number * step - _SPREAD / 2
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
    title = results.protocol_title(base)
    sizes = [
        (places[p], f"{100 * results.label_fraction(p):.3g} %", f"{samples[p]:,}") for p in family
    ]
    return CurveChart(
        results.data_title(data),
        f"{metric_title(metric.name)} by labelled training samples, {title}",
        sizes,
        axis,
        curves,
    )
