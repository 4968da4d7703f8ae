"""All finished cells together: scores with intervals, comparisons, aggregates, and one table.

`results.json` holds everything the report shows; `results.csv` and `results.parquet` are a tidy
table with one row for each cell and score.
"""

import json
import math
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import combinations
from pathlib import Path
from typing import Any

import pandas as pd

from evaluation.aggregate import aggregate
from evaluation.folder import FORMAT, ResultsFolder
from evaluation.intervals import Resampled, resample
from evaluation.predictions import Predictions, load_predictions
from evaluation.tasks import DIRECTIONS, main_metric
from rasters.progress import show_progress
from sensors import InputError
from specialists.run import describe_machine, package_versions, write_json

Case = tuple[str, str, str]
"""Data set, protocol and encoder."""

_Resampled = tuple[int, Resampled]
"""Number of seeds, and the scores of every resample."""


def write_results(
    folder: ResultsFolder, *, command: str = "", resamples: int = 1000
) -> dict[str, Any]:
    """Gather every finished cell of a folder and write the three files.

    Args:
        folder: The folder of results; what several evaluations left in it goes together.
        command: The command line, for the record.
        resamples: Of the bootstrap.

    Returns:
        The content of `results.json`.

    Raises:
        InputError: If there is no cell, or a file is damaged.
    """
    cells = _current(folder)
    if not cells:
        raise InputError(f"{folder.path} holds no result: run evaluate-encoder first")
    encoders = {record["name"]: record for record in folder.read_all("encoders")}
    efficiency: dict[str, dict[str, Any]] = defaultdict(dict)
    for record in folder.read_all("efficiency"):
        efficiency[record["encoder"]][record["data"]] = record["measured"]
    resampled = _resample_all(_read_predictions(folder, cells), resamples)
    summary = _summarise(resampled)
    results = {
        "format": FORMAT,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command,
        "machine": describe_machine(),
        "versions": package_versions(),
        "data": {record["name"]: record for record in folder.read_all("data")},
        "encoders": {
            name: {**record, "efficiency": efficiency[name]} for name, record in encoders.items()
        },
        "protocols": {record["name"]: record for record in folder.read_all("protocols")},
        "cells": cells,
        "summary": summary,
        "comparisons": _compare_all(resampled, encoders),
        "aggregate": _aggregate(summary),
        "gate_usage": _gate_usage(cells),
        "examples": _choose_examples(folder, summary, encoders),
    }
    write_json(folder.results, results)
    table = _tidy(results)
    _write_whole(folder.path / "results.csv", lambda path: table.to_csv(path, index=False))
    _write_whole(folder.path / "results.parquet", lambda path: table.to_parquet(path, index=False))
    return results


def _order(cell: Mapping[str, Any]) -> tuple[str, str, str, int]:
    return cell["data"], cell["protocol"], cell["encoder"], cell["seed"]


def _current(folder: ResultsFolder) -> list[dict[str, Any]]:
    """Cells of the data as it is now; those of files that have changed since are left out."""
    digests = {record["name"]: record["digest"] for record in folder.read_all("data")}
    cells = [
        {"id": "/".join(map(str, _order(cell))), **cell}
        for cell in folder.read_all("cells")
        if cell["data_digest"] == digests.get(cell["data"])
    ]
    return sorted(cells, key=_order)


def _read_predictions(
    folder: ResultsFolder, cells: Iterable[Mapping[str, Any]]
) -> dict[Case, list[Predictions]]:
    """Predictions of every case, one for each seed."""
    found: dict[Case, list[Predictions]] = defaultdict(list)
    for cell in cells:
        if cell["status"] == "done":
            data, protocol, encoder, seed = _order(cell)
            path = folder.file("cells", data, protocol, encoder, f"seed{seed}", suffix=".npz")
            found[data, protocol, encoder].append(load_predictions(path))
    return found


def _resample_all(
    predictions: Mapping[Case, list[Predictions]], resamples: int
) -> dict[Case, _Resampled]:
    return {
        case: (len(seeds), resample(seeds, resamples=resamples))
        for case, seeds in show_progress(predictions.items(), "Intervals", len(predictions))
    }


def _summarise(resampled: Mapping[Case, _Resampled]) -> list[dict[str, Any]]:
    rows = []
    for (data, protocol, encoder), (seeds, scores) in resampled.items():
        decisive, _ = main_metric(scores.task)
        for metric in scores.values:
            found = scores.interval(metric)
            rows.append(
                {
                    "encoder": encoder,
                    "data": data,
                    "protocol": protocol,
                    "metric": metric,
                    "direction": DIRECTIONS[metric],
                    "is_main": metric == decisive,
                    "value": found.value,
                    "low": found.low,
                    "high": found.high,
                    "seeds": seeds,
                    "unit": found.unit,
                    "units": found.units,
                }
            )
    return rows


def _compare_all(
    resampled: Mapping[Case, _Resampled], encoders: Mapping[str, Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Every encoder against every other and against the floors, by the metric that decides."""
    places: dict[tuple[str, str], list[str]] = defaultdict(list)
    for data, protocol, encoder in resampled:
        places[data, protocol].append(encoder)
    rows = []
    for (data, protocol), names in places.items():
        for first, second in _pairs(names, encoders):
            _, one = resampled[data, protocol, first]
            _, other = resampled[data, protocol, second]
            metric, _ = main_metric(one.task)
            rows.append(
                {
                    "data": data,
                    "protocol": protocol,
                    "metric": metric,
                    "a": first,
                    "b": second,
                    **asdict(one.compare(other, metric)),
                }
            )
    return rows


def _pairs(
    names: Iterable[str], encoders: Mapping[str, Mapping[str, Any]]
) -> list[tuple[str, str]]:
    names = list(names)
    floors = [name for name in names if encoders[name]["is_floor"]]
    others = [name for name in names if name not in floors]
    return [*combinations(others, 2), *((name, floor) for name in others for floor in floors)]


def _aggregate(summary: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    scores: dict[str, dict[str, dict[str, tuple[float, str]]]] = {}
    for row in summary:
        if row["is_main"] and math.isfinite(row["value"]):
            of_protocol = scores.setdefault(row["protocol"], {})
            of_protocol.setdefault(row["encoder"], {})[row["data"]] = (
                row["value"],
                row["direction"],
            )
    return [
        {"protocol": protocol, "encoder": encoder, **asdict(found)}
        for protocol, of_protocol in scores.items()
        for encoder, found in aggregate(of_protocol).items()
    ]


def _gate_usage(cells: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The first of the cells that tell how an ensemble's gate chose on a data set."""
    found = {
        (cell["encoder"], cell["data"]): cell["gate"]
        for cell in reversed(list(cells))
        if cell.get("gate")
    }
    return [
        {"encoder": encoder, "data": data, "weights": weights}
        for (encoder, data), weights in sorted(found.items())
    ]


def _choose_examples(
    folder: ResultsFolder,
    summary: Iterable[Mapping[str, Any]],
    encoders: Mapping[str, Mapping[str, Any]],
) -> list[dict[str, Any]]:
    """Maps of the best encoder, floors apart, of each data set and protocol."""
    ranked = {
        (row["data"], row["protocol"], row["encoder"]): row["value"]
        for row in summary
        if row["is_main"]
    }
    best: dict[tuple[str, str], dict[str, Any]] = {}
    for record in folder.read_all("examples"):
        place = record["data"], record["protocol"]
        value = ranked.get((*place, record["encoder"]))
        if value is None or encoders[record["encoder"]]["is_floor"]:
            continue
        if place not in best or value > ranked[(*place, best[place]["encoder"])]:
            best[place] = record
    return [
        {
            "data": record["data"],
            "protocol": record["protocol"],
            "encoder": record["encoder"],
            "classes": record["classes"],
            **item,
        }
        for record in best.values()
        for item in record["items"]
    ]


def _tidy(results: Mapping[str, Any]) -> pd.DataFrame:
    """One row for each cell and score; an empty cell has one row without a score."""
    rows = []
    for cell in results["cells"]:
        encoder = results["encoders"][cell["encoder"]]
        common = {
            "data": cell["data"],
            "task": results["data"][cell["data"]]["task"],
            "protocol": cell["protocol"],
            "probe": results["protocols"][cell["protocol"]]["probe"],
            "encoder": cell["encoder"],
            "is_floor": encoder["is_floor"],
            "seed": cell["seed"],
            "status": cell["status"],
            "reason": cell["reason"],
        }
        origin = {
            "train": cell.get("counts", {}).get("train"),
            "test": cell.get("counts", {}).get("test"),
            "seconds": cell.get("seconds"),
            "hyperparameters": json.dumps(cell.get("hyperparameters", {}), sort_keys=True),
            "data_digest": cell["data_digest"],
            "encoder_digest": cell["encoder_digest"],
            "versions": json.dumps(cell["versions"], sort_keys=True),
            "command": cell["command"],
        }
        for metric, value in (cell.get("scores") or {None: None}).items():
            rows.append({**common, "metric": metric, "value": value, **origin})
    return pd.DataFrame(rows)


def _write_whole(path: Path, write: Callable[[Path], object]) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    write(temporary)
    temporary.replace(path)
