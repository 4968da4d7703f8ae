"""What slimming costs a specialist in score, and what it saves in milliseconds.

    python benchmarks/slimming.py s2-landcover --data eurosat_ms --out runs/slimming

For each ratio and seed, a registered specialist is slimmed and recovers; nothing is registered. The
table has the score before, after slimming and after recovery, and how many times faster than before
the result is, in torch and, where it is installed, in OpenVINO. Times of a row are measured in one
process, one after the other. Runs that are finished are not done again.
"""

import argparse
import json
import os
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from evaluation.before_after import Row, measure_latency
from evaluation.slimming import complete, slim_run
from evaluation.slimming_rows import read_rows
from registry import Registry
from sensors import InputError
from specialists import load_specialist
from specialists.data import load_splits
from specialists.slimming_config import compose_slim_config

console = Console(soft_wrap=True)


def slim_once(ratio: float, seed: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Everything measured of one ratio and seed."""
    overrides = [
        f"data={arguments.data}",
        f"data.root={arguments.root}",
        f"ratio={ratio}",
        f"seed={seed}",
        f"scope={arguments.scope}",
        f"importance={arguments.importance}",
        f"recover={arguments.recover}",
        f"run_dir={arguments.out / f'{arguments.scope}_{ratio:g}_{seed}'}",
        "trainer.energy=false",
        *arguments.overrides,
    ]
    registry = Registry.open(arguments.registry)
    config = compose_slim_config(arguments.source, overrides, arguments.config_dir)
    config = complete(config, registry)
    run = slim_run(config, registry)
    rows = read_rows(run)
    whole, slimmed, result = rows[0], rows[1], rows[-1]
    record = {"ratio": ratio, "seed": seed, "rows": [row.to_dict() for row in rows]}
    record["scores"] = [row.score.value for row in (whole, slimmed, result)]
    record["speed-up in torch"] = _speed_up(whole.latency_ms, result.latency_ms)
    chips = load_splits(config.data).chips
    shown = chips["test" if "test" in chips else "selection"]
    try:
        from specialists.compiled import compile_specialist

        times = [
            measure_latency(compile_specialist(network), shown)
            for network in (registry.get(config.source), load_specialist(run.weights))
        ]
    except InputError as error:
        console.print(f"without OpenVINO: {error}")
    else:
        record["latency_ms in OpenVINO"] = times
        record["speed-up in OpenVINO"] = _speed_up(*times)
    return record


def _speed_up(before: Mapping[int, float], after: Mapping[int, float]) -> dict[int, float]:
    return {size: before[size] / after[size] for size in before}


def tabulate(records: list[dict[str, Any]], title: str) -> Table:
    """One row a ratio: means over the seeds, and the span of the score after recovery."""
    first = Row.from_dict(records[0]["rows"][0])
    table = Table("ratio", f"{first.metric} before", "slimmed", "recovered", title=title)
    for heading in ("seeds", "parameters", "MACs"):
        table.add_column(heading, justify="right")
    backends = [key for key in records[0] if key.startswith("speed-up")]
    sizes = list(first.latency_ms)
    for backend in backends:
        for size in sizes:
            table.add_column(f"{backend}, batch {size}", justify="right")
    for ratio in dict.fromkeys(record["ratio"] for record in records):
        own = [record for record in records if record["ratio"] == ratio]
        scores = list(zip(*(record["scores"] for record in own), strict=True))
        last = Row.from_dict(own[0]["rows"][-1])
        table.add_row(
            f"{ratio:g}",
            *(f"{statistics.mean(column):.3f}" for column in scores),
            f"{min(scores[-1]):.3f}..{max(scores[-1]):.3f}",
            f"{last.parameters / 1e6:.2f} of {first.parameters / 1e6:.2f} M",
            f"{last.macs / 1e6:.1f} of {first.macs / 1e6:.1f} M",
            *(
                f"{statistics.mean(record[backend][size] for record in own):.2f} x"
                for backend in backends
                for size in sizes
            ),
        )
    return table


def main() -> None:
    """Slim, measure, and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("source", help="a registered specialist")
    parser.add_argument("overrides", nargs="*", help="of slim-specialist, such as trainer.epochs=5")
    parser.add_argument("--data", required=True, help="a labelled data set of its bands")
    parser.add_argument("--root", default=os.environ.get("TERRAGUILD_DATA", "data"))
    parser.add_argument("--out", type=Path, required=True, help="folder for the runs")
    parser.add_argument("--ratios", type=float, nargs="+", default=[0.25, 0.5, 0.75])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--scope", default="hidden", help="hidden or full")
    parser.add_argument("--importance", default="magnitude", help="magnitude or taylor")
    parser.add_argument("--recover", default="distil", help="distil, labels or none")
    parser.add_argument("--registry", help="default: $TERRAGUILD_REGISTRY, else the user's")
    parser.add_argument("--config-dir", type=Path, help="folder with data sets of your own")
    arguments = parser.parse_intermixed_args()
    records = [
        slim_once(ratio, seed, arguments) for ratio in arguments.ratios for seed in arguments.seeds
    ]
    (arguments.out / "slimming.json").write_text(json.dumps(records, indent=1))
    title = f"{arguments.source} on {arguments.data}, scope {arguments.scope}"
    console.print(tabulate(records, f"{title}, recovery: {arguments.recover}"))


if __name__ == "__main__":
    main()
