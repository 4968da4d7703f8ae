"""Tables over all data sets: the leaderboard of each protocol, and calibration."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from evaluation.report._panels import data_title, empty_reason, is_clear
from evaluation.report._results import Metric, Results, Scores, known
from evaluation.report._words import MISSING, interval, metric_title, number


@dataclass(frozen=True)
class Cell:
    """One cell of a table.

    Args:
        text: What it says.
        key: What it is sorted by; None comes last in either order.
        ends: The interval below the number.
        mark: `best`, `tied` with the best, `missing`, or empty.
        shade: From the worst (0) to the best (1) of its column; None without shade.
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
            ("Normalised mean", ""): _plain(rows, "normalised_mean", 1, "{:.3f}"),
            ("Average rank", ""): _plain(rows, "average_rank", -1, "{:.2f}"),
            ("Distance to best", ""): _plain(rows, "distance_to_best", -1, "{:.2f}"),
            ("Data sets", ""): {
                name: Cell(f"{row['data_sets']} of {row['of']}", row["data_sets"])
                for name, row in rows.items()
            },
        }
        for data in results.data:
            if (main := results.main_scores(data, protocol)) is not None:
                heading = data_title(results, data), metric_title(main[0].name)
                columns[heading] = _scored(results, data, protocol, *main)
        order = sorted(rows, key=lambda name: -(known(rows[name]["normalised_mean"]) or 0))
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
                    heading = (data_title(results, data), "")
                    columns[heading] = _scored(results, data, protocol, metric, scores)
        if columns:
            present = {name for column in columns.values() for name in column}
            order = [name for name in results.encoders if name in present]
            title = "Expected calibration error"
            tables.append(_table(results, protocol, title, columns, order))
    return tables


def _headlines_first(results: Results) -> list[str]:
    speaking = {results.headline(data) for data in results.data}
    return sorted(results.protocols, key=lambda name: name not in speaking)


def _table(
    results: Results,
    protocol: str,
    caption: str,
    columns: Mapping[tuple[str, str], Column],
    order: list[str],
) -> Table:
    title = results.protocols[protocol]["title"]
    rows = [
        (name, results.group(name), [column.get(name, _NOTHING) for column in columns.values()])
        for name in order
    ]
    return Table(title, f"{caption}, {title}", list(columns), rows)


def _plain(
    rows: Mapping[str, Mapping[str, float | None]], key: str, sign: int, form: str
) -> Column:
    values = {name: v for name, row in rows.items() if (v := known(row[key])) is not None}
    return _shaded({n: Cell(form.format(v), v) for n, v in values.items()}, values, sign)


def _scored(
    results: Results, data: str, protocol: str, metric: Metric, scores: Scores
) -> Column:
    """Scores with their intervals; the best one, and those not clearly behind it, are marked."""
    values = {name: score.value for name, score in scores.items()}
    column = {
        name: Cell(number(score.value, metric.name), score.value, interval(score, metric.name))
        for name, score in scores.items()
    }
    column = _shaded(column, values, metric.sign)
    best = max(values, key=lambda name: metric.sign * values[name])
    pairs = results.differences(data, protocol, metric)
    for name in scores:
        if name != best and (name, best) in pairs and not is_clear(pairs[name, best][0]):
            column[name] = replace(column[name], mark="tied")
    for name in results.encoders:
        if name not in column and (reason := empty_reason(results, name, data, protocol)):
            column[name] = replace(_NOTHING, why=reason)
    return column


def _shaded(column: Column, values: Mapping[str, float], sign: int) -> Column:
    """Shade every cell by its place between the worst and the best, and mark the best."""
    places = {name: sign * value for name, value in values.items()}
    low, high = min(places.values(), default=0.0), max(places.values(), default=0.0)
    return {
        name: replace(
            cell,
            shade=round((places[name] - low) / (high - low), 2) if high > low else 1.0,
            mark="best" if places[name] == high else "",
        )
        for name, cell in column.items()
    }
