"""What quality costs: the table of efficiency and the scatter of quality over cost."""

from dataclasses import dataclass
from typing import Any

from evaluation.report._results import Results, known
from evaluation.report._tables import Cell, Table
from evaluation.report._words import MISSING, compact, interval, listed, metric_title, number
from evaluation.report.charts import Axis, Mark, frontier, linear_axis, log_axis, mark, steps

MEASURES = {
    "parameters": ("Parameters", ""),
    "parameters_touched": ("Parameters touched", "per image"),
    "macs": ("MACs", "per image"),
    "latency_ms": ("Latency", "ms, 1 image"),
    "images_per_second": ("Images per second", "inference"),
    "peak_memory_mb": ("Peak memory", "MB"),
    "energy_wh_per_1000_images": ("Energy", "Wh per 1,000 images"),
    "training_images_per_second": ("Images per second", "training"),
    "training_energy_wh_per_1000_images": ("Training energy", "Wh per 1,000 images"),
}
"""Key in the results, heading and unit of everything that is measured."""

_COSTS = ("macs", "parameters", "latency_ms", "energy_wh_per_1000_images")


@dataclass(frozen=True)
class Spot:
    """One encoder in a scatter: rank, place in percent, cost and quality in words."""

    rank: int
    name: str
    group: str
    x: float | None
    mark: Mark
    cost: str
    quality: str
    ends: str
    is_frontier: bool


@dataclass(frozen=True)
class Scatter:
    """Quality upwards over cost.

    Args:
        keys: Data set and cost it is chosen by.
        caption: In a sentence.
        titles: Of the cost and of the metric.
        x: Logarithmic axis of the cost.
        y: Axis of the metric; reversed where less is better, so that better is up.
        spots: Best first.
        path: The frontier as an SVG polyline in percent.
        note: Encoders without a place.
    """

    keys: dict[str, str]
    caption: str
    titles: tuple[str, str]
    x: Axis
    y: Axis
    spots: list[Spot]
    path: str
    note: str


def efficiency_tables(results: Results) -> list[Table]:
    """One table a data set, because bands and chip size decide the cost."""
    tables = []
    for data in results.data:
        measured = {
            name: facts["efficiency"][data]
            for name, facts in results.encoders.items()
            if facts["efficiency"].get(data)
        }
        if not measured:
            continue
        rows = [
            (name, results.group(name), [_cell(facts, key) for key in MEASURES])
            for name, facts in measured.items()
        ]
        title = results.data_title(data)
        caption = f"Efficiency on {title}: {_conditions(list(measured.values()))}"
        tables.append(Table(title, caption, list(MEASURES.values()), rows))
    return tables


def _cell(facts: dict[str, Any], key: str) -> Cell:
    value = known(facts.get(key))
    if value is None:
        why = facts.get("notes", {}).get(key, "")
        return Cell(MISSING, mark="missing", why=why)
    return Cell(compact(value), value)


def _conditions(measured: list[dict[str, Any]]) -> str:
    """Under what all was measured; what differs between encoders is listed."""
    titles = {
        "device": "",
        "threads": "threads",
        "batch_size": "images a batch",
        "energy_method": "energy:",
    }
    parts = []
    for key, title in titles.items():
        values = list(dict.fromkeys(str(facts[key]) for facts in measured if facts.get(key)))
        if values:
            words = (title, listed(values)) if title.endswith(":") else (listed(values), title)
            parts.append(" ".join(words).strip())
    return ", ".join(parts)


def scatters(results: Results) -> list[Scatter]:
    """One scatter for every data set, by its headline protocol, and every cost."""
    found = []
    for data, protocol in results.headlines.items():
        for key in _COSTS:
            scatter = _scatter(results, data, protocol, key)
            if scatter is not None:
                found.append(scatter)
    return found


def _scatter(results: Results, data: str, protocol: str, key: str) -> Scatter | None:
    metric, scores = results.main_scores(data, protocol)
    costs = {
        name: cost
        for name in scores
        if (cost := _cost(results.encoders[name], data, key)) is not None
    }
    placed = [name for name in costs if costs[name] > 0]
    if not placed:
        return None
    x = log_axis(costs[name] for name in placed)
    y = linear_axis(end for name in costs for end in scores[name].span)
    better = metric.sign
    cheapest = sorted(placed, key=lambda name: costs[name])
    front = [
        cheapest[i] for i in frontier([(costs[n], better * scores[n].value) for n in cheapest])
    ]
    ranked = sorted(costs, key=lambda name: -better * scores[name].value)
    spots = [
        Spot(
            rank,
            name,
            results.group(name),
            x.at(costs[name]) if costs[name] > 0 else None,
            _upwards(mark(y, scores[name]), better),
            compact(costs[name]),
            number(scores[name].value, metric.name),
            interval(scores[name], metric.name),
            name in front,
        )
        for rank, name in enumerate(ranked, 1)
    ]
    places = {spot.name: spot for spot in spots}
    path = steps((x.at(costs[name]), places[name].mark.at) for name in front)
    if better < 0:
        y = Axis(y.low, y.high, tuple((round(100 - at, 2), text) for at, text in y.ticks))
    zero = [name for name in costs if costs[name] <= 0]
    unknown = [name for name in scores if name not in costs]
    notes = [f"Without cost, so not on a logarithmic axis: {listed(zero)}." if zero else ""]
    notes += [f"Cost not measured: {listed(unknown)}." if unknown else ""]
    heading, unit = MEASURES[key]
    title = results.protocol_title(protocol)
    return Scatter(
        {"data set": results.data_title(data), "cost": heading},
        f"{metric_title(metric.name)} on {results.data_title(data)} ({title}) over "
        f"{heading.lower() if heading != 'MACs' else heading}"
        + (f", {unit}" if unit else "")
        + (" (axis upside down: lower is better)" if better < 0 else ""),
        (f"{heading}{', ' * bool(unit)}{unit} (logarithmic)", metric_title(metric.name)),
        x,
        y,
        spots,
        path,
        " ".join(filter(None, notes)),
    )


def _cost(encoder: dict[str, Any], data: str, key: str) -> float | None:
    """A cost as measured on a data set; its size is known even where nothing was measured."""
    measured = encoder["efficiency"].get(data) or {}
    return known(measured.get(key, encoder["parameters"] if key == "parameters" else None))


def _upwards(place: Mark, better: int) -> Mark:
    if better > 0:
        return place
    return Mark(100 - place.at, 100 - place.high, 100 - place.low)
