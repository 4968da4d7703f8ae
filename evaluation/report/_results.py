"""The results file as the page reads it: checked, then looked up by data set and protocol."""

import json
import math
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from sensors import InputError

FORMAT = 1
_SECTIONS = (
    *("created", "command", "machine", "versions", "data", "encoders", "protocols", "cells"),
    *("summary", "comparisons", "aggregate", "gate_usage", "examples"),
)
_STRONGEST_FIRST = ("linear", "pixel-decoder", "pixel-linear", "knn")
_PICTURE = "data:image/png;base64,"


@dataclass(frozen=True)
class Score:
    """A number with its interval; the ends are None where there is none."""

    value: float
    low: float | None
    high: float | None
    seeds: int = 1

    @property
    def span(self) -> tuple[float, float]:
        """Ends of the interval, or twice the value."""
        low = self.value if self.low is None else self.low
        return low, self.value if self.high is None else self.high


@dataclass(frozen=True)
class Metric:
    """What is scored, and whether its `max` or its `min` is best."""

    name: str
    direction: str

    @property
    def sign(self) -> int:
        """1 where more is better, -1 where less is."""
        return 1 if self.direction == "max" else -1


Scores = dict[str, Score]
"""Score of each encoder."""


class Results:
    """One results file.

    Args:
        raw: The file's content, already checked by `read_results`.
    """

    def __init__(self, raw: Mapping[str, Any]) -> None:
        self.raw = raw
        self.data: dict[str, dict[str, Any]] = raw["data"]
        floors_last = sorted(raw["encoders"].items(), key=lambda item: item[1]["is_floor"])
        self.encoders: dict[str, dict[str, Any]] = dict(floors_last)
        self.protocols: dict[str, dict[str, Any]] = raw["protocols"]
        self.cells: list[dict[str, Any]] = raw["cells"]

    @cached_property
    def _scores(self) -> dict[tuple[str, str], dict[str, tuple[Metric, bool, Scores]]]:
        table: dict[tuple[str, str], dict[str, tuple[Metric, bool, Scores]]] = {}
        for row in self.raw["summary"]:
            if (value := known(row["value"])) is None:
                continue
            metric = Metric(row["metric"], row["direction"])
            place = table.setdefault((row["data"], row["protocol"]), {})
            _, _, scores = place.setdefault(metric.name, (metric, row["is_main"], {}))
            scores[row["encoder"]] = Score(
                value, known(row["low"]), known(row["high"]), row["seeds"]
            )
        return table

    def metrics(self, data: str, protocol: str) -> list[Metric]:
        """What a protocol was scored by, the metric that decides first."""
        entries = self._scores.get((data, protocol), {}).values()
        return [metric for metric, _, _ in sorted(entries, key=lambda entry: not entry[1])]

    def scores(self, data: str, protocol: str, metric: Metric) -> Scores:
        """Score of each encoder that has one."""
        entry = self._scores.get((data, protocol), {}).get(metric.name)
        return {} if entry is None else entry[2]

    def main_scores(self, data: str, protocol: str) -> tuple[Metric, Scores]:
        """The metric that decides and the scores by it, for one of `protocols_of(data)`."""
        metric = self.metrics(data, protocol)[0]
        return metric, self.scores(data, protocol, metric)

    def protocols_of(self, data: str) -> list[str]:
        """Protocols that gave a number on a data set, in the file's order."""
        return [name for name in self.protocols if (data, name) in self._scores]

    def base(self, protocol: str) -> str | None:
        """The protocol that this one varies by fewer labels, fewer bands or another sensor."""
        base: str | None = self.protocols[protocol].get("base")
        return base

    def protocol_title(self, protocol: str) -> str:
        """A protocol for people; its name if the file knows no more of it."""
        return self._protocol_titles.get(protocol, protocol)

    def data_title(self, data: str) -> str:
        """A data set for people."""
        return self._data_titles[data]

    @cached_property
    def _protocol_titles(self) -> dict[str, str]:
        return _unique_titles(self.protocols)

    @cached_property
    def _data_titles(self) -> dict[str, str]:
        return _unique_titles(self.data)

    def label_fraction(self, protocol: str) -> float:
        """Share of the training labels that a protocol uses."""
        return float(self.protocols[protocol].get("label_fraction", 1))

    @cached_property
    def headlines(self) -> dict[str, str]:
        """The protocol that speaks for each data set: with all labels and bands, strongest probe.

        Data sets without any number are left out.
        """
        found = {}
        for data in self.data:
            protocols = self.protocols_of(data)
            plain = [name for name in protocols if self.base(name) is None] or protocols
            if plain:
                found[data] = min(plain, key=lambda name: _strength(self.protocols[name]["probe"]))
        return found

    @cached_property
    def floors(self) -> frozenset[str]:
        """Names of the floors."""
        return frozenset(name for name, facts in self.encoders.items() if facts["is_floor"])

    def group(self, encoder: str) -> str:
        """How an encoder is drawn: `floor`, `ensemble` or `encoder`."""
        if encoder in self.floors:
            return "floor"
        return "ensemble" if self.encoders[encoder]["kind"] == "ensemble" else "encoder"

    def best(self, scores: Scores, metric: Metric, *, floors: bool) -> str | None:
        """The best of the floors, or the best of all others."""
        among = [name for name in scores if (name in self.floors) == floors]
        return max(among, key=lambda name: metric.sign * scores[name].value, default=None)

    @cached_property
    def _comparisons(self) -> dict[tuple[str, str, str], dict[tuple[str, str], dict[str, Any]]]:
        table: dict[tuple[str, str, str], dict[tuple[str, str], dict[str, Any]]] = {}
        for row in self.raw["comparisons"]:
            place = table.setdefault((row["data"], row["protocol"], row["metric"]), {})
            place[row["a"], row["b"]] = row
        return table

    def differences(
        self, data: str, protocol: str, metric: Metric
    ) -> dict[tuple[str, str], tuple[Score, float | None]]:
        """Paired differences a - b with their p-values, each pair in both orders."""
        found = {}
        for (a, b), row in self._comparisons.get((data, protocol, metric.name), {}).items():
            if (value := known(row["value"])) is None:
                continue
            low, high, p = (known(row[name]) for name in ("low", "high", "p_value"))
            found[a, b] = Score(value, low, high), p
            swapped = Score(-value, None if high is None else -high, None if low is None else -low)
            found[b, a] = swapped, p
        return found

    def cells_of(self, encoder: str, data: str, protocol: str) -> list[dict[str, Any]]:
        """The cells of all seeds."""
        return self._cells.get((encoder, data, protocol), [])

    @cached_property
    def _cells(self) -> dict[tuple[str, str, str], list[dict[str, Any]]]:
        table: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
        for cell in self.cells:
            table.setdefault((cell["encoder"], cell["data"], cell["protocol"]), []).append(cell)
        return table

    def training_samples(self, data: str, protocol: str) -> int | None:
        """Median number of labelled training samples that a protocol's cells were fitted on."""
        counts = [
            cell["counts"]["train"]
            for encoder in self.encoders
            for cell in self.cells_of(encoder, data, protocol)
            if cell["status"] == "done"
        ]
        return round(statistics.median(counts)) if counts else None


def read_results(path: Path) -> Results:
    """Read a results file.

    Raises:
        InputError: If it is missing, no JSON, of another format, lacks a section, or holds a
            picture that is not an inline PNG.
    """
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; run evaluate-encoder first") from error
    except ValueError as error:
        raise InputError(f"{path} is no JSON: {error}; run evaluate-encoder again") from error
    found = raw.get("format") if isinstance(raw, dict) else None
    if found != FORMAT:
        raise InputError(
            f"{path} has results format {found}, this version reads {FORMAT}: "
            "run the evaluation again with this version"
        )
    if missing := [name for name in _SECTIONS if name not in raw]:
        raise InputError(f"{path} lacks {', '.join(missing)}: run the evaluation again")
    for example in raw["examples"]:
        for name in ("image", "label", "prediction"):
            # Anything else could make the page ask for something outside itself.
            if not example[name].startswith(_PICTURE):
                raise InputError(
                    f"{path}: {name} of example {example['id']!r} is not an inline PNG "
                    f"({_PICTURE}...)"
                )
    return Results(raw)


def known(value: float | None) -> float | None:
    """A number, or None where it is missing or not finite."""
    return None if value is None or not math.isfinite(value) else float(value)


def in_order(names: Iterable[str], order: Iterable[str]) -> list[str]:
    """The names that occur in `order`, in that order."""
    wanted = set(names)
    return [name for name in order if name in wanted]


def _unique_titles(entries: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """The title of each entry, with its name where others have the same title."""
    titles = {name: facts["title"] or name for name, facts in entries.items()}
    all_titles = list(titles.values())
    return {
        name: title if all_titles.count(title) == 1 else f"{title} ({name})"
        for name, title in titles.items()
    }


def _strength(probe: str) -> int:
    return _STRONGEST_FIRST.index(probe) if probe in _STRONGEST_FIRST else len(_STRONGEST_FIRST)
