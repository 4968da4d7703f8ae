"""What stands behind the scores: confusions, classes, maps, gates, empty cells, commands."""

import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from evaluation.report._results import Results, in_order, known
from evaluation.report._tables import Cell, Table
from evaluation.report._words import MISSING, metric_title

MAX_CLASSES = 64
"""Classes above which a confusion matrix is left to the results file: nobody could read it."""


@dataclass(frozen=True)
class Confusion:
    """Confusion matrices of one data set by its headline protocol, all seeds added up.

    Args:
        title: Data set.
        protocol: Title of the protocol.
        classes: In the order of rows and columns.
        shown: The encoder that is shown first: the best one.
        counts: For each encoder the counts, row after row (true class by predicted class).
    """

    title: str
    protocol: str
    classes: list[str]
    shown: str
    counts: dict[str, list[int]]

    @property
    def percent(self) -> list[list[int | None]]:
        """Of the shown encoder, percent of each true class; None for classes without samples."""
        size = len(self.classes)
        rows = np.reshape(self.counts[self.shown], (size, size))
        return [
            [round(100 * int(value) / int(row.sum())) if row.sum() else None for value in row]
            for row in rows
        ]


def confusions(results: Results) -> list[Confusion]:
    """One for every data set whose cells have confusions."""
    found = []
    for data, protocol in results.headlines.items():
        classes = results.data[data]["classes"]
        if len(classes) > MAX_CLASSES:
            continue
        counts = {}
        for name in results.encoders:
            cells = results.cells_of(name, data, protocol)
            matrices = [cell["confusion"] for cell in cells if cell.get("confusion")]
            if matrices:
                counts[name] = np.sum(matrices, axis=0).astype(int).ravel().tolist()
        if counts:
            metric, scores = results.main_scores(data, protocol)
            best = results.best(scores, metric, floors=False)
            shown = best if best in counts else next(iter(counts))
            title = results.protocol_title(protocol)
            found.append(Confusion(results.data_title(data), title, classes, shown, counts))
    return found


def class_tables(results: Results) -> list[Table]:
    """One table a data set: the first metric by class, mean over the seeds, for every encoder."""
    tables = []
    for data, protocol in results.headlines.items():
        by_encoder: dict[str, dict[str, float]] = {}
        name_of_metric = ""
        for name in results.encoders:
            cells = results.cells_of(name, data, protocol)
            scored = [cell["per_class"] for cell in cells if cell.get("per_class")]
            metrics = [key for key in scored[0] if key != "support"] if scored else []
            if metrics:
                name_of_metric = metrics[0]
                by_encoder[name] = _means([per_class[metrics[0]] for per_class in scored])
        if by_encoder:
            title = results.data_title(data)
            caption = f"{metric_title(name_of_metric)} by class, {title}"
            rows = [
                (name, "encoder", [_share(values.get(name)) for values in by_encoder.values()])
                for name in results.data[data]["classes"]
            ]
            tables.append(Table(title, caption, [(name, "") for name in by_encoder], rows))
    return tables


def _means(tables: list[dict[str, float | None]]) -> dict[str, float]:
    values: dict[str, list[float]] = {}
    for table in tables:
        for name, value in table.items():
            if (found := known(value)) is not None:
                values.setdefault(name, []).append(found)
    return {name: statistics.fmean(found) for name, found in values.items()}


def _share(value: float | None) -> Cell:
    if value is None:
        return Cell(MISSING, mark="missing")
    return Cell(f"{value:.2f}", value, shade=round(min(max(value, 0.0), 1.0), 2))


@dataclass(frozen=True)
class MapExample:
    """One chip: its image and what that shows, its label, and what the encoders made of it."""

    title: str
    shows: str
    image: str
    label: str
    predictions: list[tuple[str, str]]
    classes: list[tuple[str, str]]


def map_examples(results: Results) -> list[MapExample]:
    """Every chip once, with the predictions of all encoders that were kept."""
    chips: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for example in results.raw["examples"]:
        key = example["data"], example["protocol"], example["id"]
        chips.setdefault(key, []).append(example)
    return [
        MapExample(
            f"{results.data_title(data)}, {results.protocol_title(protocol)}: {chip}",
            f"Image, {examples[0]['shows']}" if "shows" in examples[0] else "Image",
            examples[0]["image"],
            examples[0]["label"],
            [(example["encoder"], example["prediction"]) for example in examples],
            [(name, color) for name, color in examples[0]["classes"]],
        )
        for (data, protocol, chip), examples in chips.items()
    ]


@dataclass(frozen=True)
class GateUsage:
    """Mean gate weight of each member on each data set, for one ensemble."""

    encoder: str
    data: list[str]
    members: list[tuple[str, list[float | None]]]


def gate_usage(results: Results) -> list[GateUsage]:
    """One table for every ensemble, the most used member first."""
    rows = results.raw["gate_usage"]
    found = []
    for encoder in dict.fromkeys(row["encoder"] for row in rows):
        weights = {row["data"]: row["weights"] for row in rows if row["encoder"] == encoder}
        data = in_order(weights, results.data)
        members = dict.fromkeys(member for by_member in weights.values() for member in by_member)
        table = [
            (member, [known(weights[name].get(member)) for name in data]) for member in members
        ]
        table.sort(key=lambda row: -sum(weight or 0 for weight in row[1]))
        found.append(GateUsage(encoder, [results.data_title(name) for name in data], table))
    return found


@dataclass(frozen=True)
class Place:
    """An encoder on a data set by a protocol, all seeds together."""

    encoder: str
    data: str
    protocol: str
    seeds: str
    text: str


def empty_places(results: Results) -> list[Place]:
    """Cells without a number, and why."""
    found: dict[tuple[str, str, str, str], list[str]] = {}
    for cell in results.cells:
        if cell["status"] == "empty":
            key = cell["encoder"], cell["data"], cell["protocol"], cell["reason"] or "not given"
            found.setdefault(key, []).append(str(cell["seed"]))
    return [
        Place(
            encoder,
            results.data_title(data),
            results.protocol_title(protocol),
            ", ".join(seeds),
            reason,
        )
        for (encoder, data, protocol, reason), seeds in found.items()
    ]


def commands(results: Results) -> list[tuple[str, list[Place]]]:
    """For every data set, the commands that repeat each number: one line a seed."""
    found = []
    for data in results.data:
        places = []
        for protocol in results.protocols_of(data):
            for encoder in results.encoders:
                cells = results.cells_of(encoder, data, protocol)
                done = [cell for cell in cells if cell["status"] == "done"]
                if done:
                    lines = dict.fromkeys(cell["command"] for cell in done)
                    title = results.protocol_title(protocol)
                    seeds = _join(cell["seed"] for cell in done)
                    places.append(Place(encoder, data, title, seeds, "\n".join(lines)))
        if places:
            found.append((results.data_title(data), places))
    return found


def _join(values: Iterable[object]) -> str:
    return ", ".join(str(value) for value in values)
