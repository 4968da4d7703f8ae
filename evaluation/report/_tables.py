"""Tables over all data sets: the leaderboard of each protocol, and calibration."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from evaluation.report._panels import empty_reason, is_clear
from evaluation.report._results import Metric, Results, Scores, in_order, known
from evaluation.report._words import MISSING, interval, metric_title, number


@dataclass(frozen=True)
class Cell:
    """One cell of a table.

    Args:
        text: What it says.
        key: What it is sorted by; None comes last in either order.
        ends: The interval below the number.
        mark: `best`, `tied` with the best, `missing`, or empty.
        shade: From the best floor (0) to the best (1) of its column; None without shade.
        why: Why it is empty.
    """

    text: str
    key: float | str | None = None
    ends: str = ""
    mark: str = ""
    shade: float | None = None
    why: str = ""


@dataclass(frozen=True)
class Table:
    """A sortable table of encoders.

    Args:
        title: What it is chosen by.
        caption: In a sentence.
        columns: Headings, each with a second line that may be empty.
        rows: Name, group (`encoder`, `ensemble`, `floor`) and the cells after it.
    """

    title: str
    caption: str
    columns: list[tuple[str, str]]
    rows: list[tuple[str, str, list[Cell]]]


Column = dict[str, Cell]
"""The cell of each encoder that has one."""

_NOTHING = Cell(MISSING, mark="missing")


def leaderboards(results: Results) -> list[Table]:
    """One table a protocol: the aggregates, then the deciding metric on each data set."""
    tables = []
    for protocol in _headlines_first(results):
        rows = {r["encoder"]: r for r in results.raw["aggregate"] if r["protocol"] == protocol}
        if not rows:
            continue
        columns = {
            ("Normalised mean", ""): _plain(results, rows, "normalised_mean", 1, "{:.3f}"),
            ("Average rank", ""): _plain(results, rows, "average_rank", -1, "{:.2f}"),
            ("Distance to best", ""): _plain(results, rows, "distance_to_best", -1, "{:.2f}"),
            ("Data sets", ""): {
                name: Cell(f"{row['data_sets']} of {row['of']}", row["data_sets"])
                for name, row in rows.items()
            },
        }
        for data in results.data:
            if protocol in results.protocols_of(data):
                metric, scores = results.main_scores(data, protocol)
                heading = results.data_title(data), metric_title(metric.name)
                columns[heading] = _scored(results, data, protocol, metric, scores)
        means = {name: known(row["normalised_mean"]) for name, row in rows.items()}
        tried = {cell["encoder"] for cell in results.cells if cell["protocol"] == protocol}
        order = sorted(in_order(tried, results.encoders), key=lambda n: -(means.get(n) or -1))
        tables.append(_table(results, protocol, "Leaderboard", columns, order))
    return tables


def calibration(results: Results) -> list[Table]:
    """One table a protocol: the expected calibration error on each data set."""
    tables = []
    for protocol in _headlines_first(results):
        columns: dict[tuple[str, str], Column] = {}
        for data in results.data:
            for metric in results.metrics(data, protocol):
                if metric.name == "ece":
                    scores = results.scores(data, protocol, metric)
                    heading = (results.data_title(data), "")
                    columns[heading] = _scored(results, data, protocol, metric, scores)
        if columns:
            present = {name for column in columns.values() for name in column}
            order = [name for name in results.encoders if name in present]
            title = "Expected calibration error"
            tables.append(_table(results, protocol, title, columns, order))
    return tables


def _headlines_first(results: Results) -> list[str]:
    speaking = results.headlines.values()
    return sorted(results.protocols, key=lambda name: name not in speaking)


def _table(
    results: Results,
    protocol: str,
    caption: str,
    columns: Mapping[tuple[str, str], Column],
    order: list[str],
) -> Table:
    title = results.protocol_title(protocol)
    rows = [
        (name, results.group(name), [column.get(name, _NOTHING) for column in columns.values()])
        for name in order
    ]
    return Table(title, f"{caption}, {title}", list(columns), rows)


def _plain(
    results: Results, rows: Mapping[str, Mapping[str, float | None]], key: str, sign: int, form: str
) -> Column:
    values = {name: v for name, row in rows.items() if (v := known(row[key])) is not None}
    column = {name: Cell(form.format(value), value) for name, value in values.items()}
    return _shaded(results, column, values, sign)


def _scored(results: Results, data: str, protocol: str, metric: Metric, scores: Scores) -> Column:
    """Scores with their intervals; the best one, and those not clearly behind it, are marked."""
    values = {name: score.value for name, score in scores.items()}
    column = {
        name: Cell(number(score.value, metric.name), score.value, interval(score, metric.name))
        for name, score in scores.items()
    }
    column = _shaded(results, column, values, metric.sign)
    best = max(values, key=lambda name: metric.sign * values[name])
    pairs = results.differences(data, protocol, metric)
    for name in scores:
        if name != best and (name, best) in pairs and not is_clear(pairs[name, best][0]):
            column[name] = replace(column[name], mark="tied")
    for name in results.encoders:
        if name not in column and (reason := empty_reason(results, name, data, protocol)):
            column[name] = replace(_NOTHING, why=reason)
    return column


def _shaded(results: Results, column: Column, values: Mapping[str, float], sign: int) -> Column:
    """Mark the best, and shade every cell by how far it is from the best floor to the best."""
    places = {name: sign * value for name, value in values.items()}
    high = max(places.values(), default=0.0)
    floors = [place for name, place in places.items() if name in results.floors]
    low = max(floors) if floors else min(places.values(), default=0.0)
    span = high - low or 1.0
    return {
        name: replace(
            cell,
            shade=round((places[name] - low) / span, 2) if places[name] > low else None,
            mark="best" if places[name] == high else "",
        )
        for name, cell in column.items()
    }
