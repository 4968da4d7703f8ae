"""Panels of dots with whiskers: scores, paired differences, changes of the data."""

from collections.abc import Callable, Iterable

from evaluation.report._figures import Figure, Panel, Row
from evaluation.report._results import Metric, Results, Score, Scores
from evaluation.report._words import count, interval, metric_title, number, p_value, signed
from evaluation.report.charts import linear_axis, mark


def score_panels(results: Results) -> list[Panel]:
    """Every protocol and metric of every data set, the headline protocol first."""

    def figures(data: str, protocol: str) -> Iterable[Figure | None]:
        return (_scores(results, data, protocol, m) for m in results.metrics(data, protocol))

    return _panels(results, figures, with_facts=True)


def comparison_panels(results: Results) -> list[Panel]:
    """The best encoder of each data set against every other one, on the same test samples."""
    return _panels(results, lambda data, protocol: [_comparison(results, data, protocol)])


def transfer_panels(results: Results) -> list[Panel]:
    """Each encoder before and after bands went missing or the sensor changed."""
    return _panels(results, lambda data, protocol: [_transfer(results, data, protocol)])


def is_clear(difference: Score) -> bool:
    """Whether the interval of a difference leaves out zero."""
    low, high = difference.low, difference.high
    return low is not None and high is not None and (low > 0 or high < 0)


def empty_reason(results: Results, encoder: str, data: str, protocol: str) -> str:
    """Why none of an encoder's seeds gave a number; empty where they were never asked for."""
    cells = results.cells_of(encoder, data, protocol)
    reasons = dict.fromkeys(cell["reason"] for cell in cells if cell["status"] == "empty")
    return "; ".join(filter(None, reasons)) or ("no reason given" if reasons else "")


def _panels(
    results: Results,
    figures: Callable[[str, str], Iterable[Figure | None]],
    *,
    with_facts: bool = False,
) -> list[Panel]:
    panels = []
    for data in results.data:
        headline = results.headlines.get(data)
        order = sorted(results.protocols_of(data), key=lambda name: name != headline)
        found = [figure for name in order for figure in figures(data, name) if figure is not None]
        if found:
            facts = _facts(results, data) if with_facts else ""
            panels.append(Panel(results.data_title(data), found, facts))
    return panels


def _facts(results: Results, data: str) -> str:
    """Task, classes, sensor, size and split of a data set in one line."""
    facts = results.data[data]
    task = facts["task"].replace("-", " ") + (", multi-label" if facts["multi_label"] else "")
    words = ("target", None) if facts["task"] == "regression" else ("class", "classes")
    classes = count(len(facts["classes"]), *words)
    sizes = (f"{size:,} {split}" for split, size in facts["counts"].items())
    parts = (task, classes, facts["sensor"], *sizes, f"split: {facts['split']}")
    return " · ".join(part for part in parts if part)


def _ranked(scores: Scores, metric: Metric) -> list[str]:
    return sorted(scores, key=lambda name: -metric.sign * scores[name].value)


def shown_ends(results: Results, scores: Scores, floor: str | None) -> list[float]:
    """What an axis has to hold: the intervals of all encoders and of the best floor.

    Weaker floors may lie off its end: with them on it, one encoder could not be told from the next.
    """
    names = [name for name in scores if name not in results.floors or name == floor]
    return [end for name in names for end in scores[name].span]


def _empty_rows(results: Results, scores: Scores, data: str, protocol: str) -> list[Row]:
    return [
        Row(name, results.group(name), empty=reason)
        for name in results.encoders
        if name not in scores and (reason := empty_reason(results, name, data, protocol))
    ]


def _scores(results: Results, data: str, protocol: str, metric: Metric) -> Figure:
    scores = results.scores(data, protocol, metric)
    floor = results.best(scores, metric, floors=True)
    axis = linear_axis(shown_ends(results, scores, floor))
    rows = [
        Row(
            name,
            results.group(name),
            number(scores[name].value, metric.name),
            interval(scores[name], metric.name),
            (("", mark(axis, scores[name])),),
        )
        for name in _ranked(scores, metric)
    ]
    title, heading = results.protocol_title(protocol), metric_title(metric.name)
    return Figure(
        keys={"protocol": title, "metric": heading},
        caption=f"{heading} on {results.data_title(data)}, {title}; "
        f"{'higher' if metric.sign > 0 else 'lower'} is better",
        heading=heading,
        axis=axis,
        rows=rows + _empty_rows(results, scores, data, protocol),
        line=None if floor is None else axis.at(scores[floor].value),
    )


def _comparison(results: Results, data: str, protocol: str) -> Figure | None:
    metric, scores = results.main_scores(data, protocol)
    best = results.best(scores, metric, floors=False)
    pairs = results.differences(data, protocol, metric)
    found = {b: pairs[a, b] for a, b in pairs if a == best}
    if best is None or not found:
        return None
    differences = {name: difference for name, (difference, _) in found.items()}
    floor = results.best(scores, metric, floors=True)
    axis = linear_axis([0, *shown_ends(results, differences, floor)])
    rows = []
    for other in sorted(found, key=lambda name: metric.sign * found[name][0].value):
        difference, p = found[other]
        text = signed(difference.value, metric.name)
        rows.append(
            Row(
                other,
                results.group(other),
                text if p is None else f"{text}, p {p_value(p)}",
                interval(difference, metric.name),
                (("" if is_clear(difference) else "unclear", mark(axis, difference)),),
            )
        )
    ahead = ("other is better", "better than the other")
    title = results.protocol_title(protocol)
    return Figure(
        keys={"protocol": title},
        caption=f"{best}: its {metric_title(metric.name)} less that of each other encoder, "
        f"{results.data_title(data)}, {title}",
        heading="Difference, p",
        axis=axis,
        rows=rows,
        line=axis.at(0),
        ends=ahead if metric.sign > 0 else (ahead[1], ahead[0]),
    )


def _transfer(results: Results, data: str, protocol: str) -> Figure | None:
    base = results.base(protocol)
    if base is None or results.label_fraction(protocol) != 1:
        return None
    metric, after = results.main_scores(data, protocol)
    before = {name: s for name, s in results.scores(data, base, metric).items() if name in after}
    both = (before, after)
    floors = [results.best(scores, metric, floors=True) for scores in both]
    ends = [shown_ends(results, *entry) for entry in zip(both, floors, strict=True)]
    axis = linear_axis([end for part in ends for end in part])
    rows = []
    for name in _ranked(after, metric):
        text, marks = number(after[name].value, metric.name), [("", mark(axis, after[name]))]
        if name in before:
            marks.insert(0, ("from", mark(axis, before[name])))
            change = signed(after[name].value - before[name].value, metric.name)
            text = f"{text} ({change})"
        row_ends = interval(after[name], metric.name)
        rows.append(Row(name, results.group(name), text, row_ends, tuple(marks)))
    title, start = (results.protocol_title(name) for name in (protocol, base))
    return Figure(
        keys={"protocol": title},
        caption=f"{metric_title(metric.name)} on {results.data_title(data)}: "
        f"{start} (ring) and {title} (dot)",
        heading=f"{metric_title(metric.name)} (change)",
        axis=axis,
        rows=rows + _empty_rows(results, after, data, protocol),
        note=results.protocols[protocol]["description"],
    )
