"""How many members an ensemble needs: score against cost at every step of the pruning pass.

    python benchmarks/pruning.py --members eurosat-rgb hls-water ... --tasks eurosat_ms \
        hls_worldcover --out runs/pruning

For each task and seed, an ensemble in which all members run (gate `uniform`, fusion `concat`)
learns the task by `compose-ensemble`, and `prune-ensemble` takes one member after the other out of
it. The table has, for every number of members, the test score as mean and span over the seeds, and
how many times less it costs than the ensemble as it was; times of one seed are measured in one
process, one after the other. The step that the budget chooses is marked for each seed. What is
finished is not done again.
"""

import argparse
import json
import os
import statistics
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from evaluation.before_after import Row
from evaluation.pruning import prune
from evaluation.pruning_config import compose_pruning
from registry import Registry
from router.composing import compose_ensemble, compose_ensemble_config
from sensors import BandPlan
from specialists.data import load_splits
from specialists.named_data import load_data_config

console = Console(soft_wrap=True)


def find_members(task: str, arguments: argparse.Namespace) -> list[str]:
    """References of the members that can run on a data set's bands."""
    bands = load_splits(load_data_config(task, arguments.root, None)).chips["train"].bands
    cards = [Registry.open().specialist(name) for name in arguments.members]
    able = [card for card in cards if BandPlan.match(card.spec.bands, bands).is_applicable]
    return [str(card.reference) for card in able]


def prune_once(task: str, seed: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Everything measured of one task and seed."""
    out: Path = arguments.out / task / str(seed)
    file = out / "found.json"
    if file.exists():
        found: dict[str, Any] = json.loads(file.read_text())
        return found
    members = find_members(task, arguments)
    overrides = [
        f"data={task}",
        f"data.root={arguments.root}",
        f"members=[{','.join(members)}]",
        "ensemble.gate=uniform",
        f"run_dir={out / 'ensemble'}",
        f"seed={seed}",
        f"trainer.epochs={arguments.epochs}",
        "trainer.batch_size=8",
        "trainer.lr=1e-3",
        "trainer.energy=false",
    ]
    run = compose_ensemble(compose_ensemble_config(overrides))
    words = [f"data={task}", f"data.root={arguments.root}", f"seed={seed}", "device=cpu"]
    words += [f"budget.drop={arguments.drop}"]
    words += [f"exhaustive={arguments.exhaustive and seed == arguments.seeds[0]}"]
    outcome = prune(compose_pruning(str(run.path), words, dry_run=True))
    found = {
        "rows": [row.to_dict() for row in outcome.rows],
        "chosen": outcome.chosen,
        "removed": [step.removed for step in outcome.steps],
        "left": [list(step.members) for step in outcome.steps],
        "selection": [step.worth.score for step in outcome.steps],
        "better": list(outcome.better),
        "complement": outcome.redundancy.complement,
    }
    file.write_text(json.dumps(found, indent=1))
    return found


def tabulate(task: str, found: dict[int, dict[str, Any]]) -> Table:
    """One row for each number of members, the ensemble as it was first."""
    rows = {seed: [Row.from_dict(row) for row in one["rows"]] for seed, one in found.items()}
    first = next(iter(rows.values()))
    table = Table("members", f"{first[0].metric}", "seeds", "chosen by seeds", title=task)
    for heading in ("parameters", "MACs", *(f"time, batch {size}" for size in first[0].latency_ms)):
        table.add_column(heading, justify="right")
    for number in range(len(first)):
        own = {seed: of_seed[number] for seed, of_seed in rows.items()}
        scores = [row.score.value for row in own.values()]
        chosen = [str(seed) for seed, one in found.items() if one["chosen"] + 1 == number]
        count = len(next(iter(found.values()))["left"][max(number - 1, 0)])
        table.add_row(
            f"{count}, as they were" if number == 0 else str(count),
            f"{statistics.mean(scores):.3f}",
            f"{min(scores):.3f}..{max(scores):.3f}",
            ", ".join(chosen),
            _saved(rows, number, lambda row: row.parameters),
            _saved(rows, number, lambda row: row.macs),
            *(
                _saved(rows, number, lambda row, size=size: row.latency_ms[size])
                for size in first[0].latency_ms
            ),
        )
    return table


def _saved(rows: dict[int, list[Row]], number: int, cost: Any) -> str:  # noqa: ANN401
    """How many times less than before, mean over the seeds."""
    times = [cost(of_seed[0]) / cost(of_seed[number]) for of_seed in rows.values()]
    return f"1 / {statistics.mean(times):.2f}"


def main() -> None:
    """Teach, prune, and print a table for each task."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--members", nargs="+", required=True, help="registered specialists")
    parser.add_argument("--tasks", nargs="+", required=True, help="data sets")
    parser.add_argument("--root", default=os.environ.get("TERRAGUILD_DATA", "data"))
    parser.add_argument("--out", type=Path, required=True, help="folder for everything")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--drop", type=float, default=0.005, help="tolerated loss of score")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--exhaustive", action="store_true", help="for the first seed")
    arguments = parser.parse_args()
    for task in arguments.tasks:
        found = {seed: prune_once(task, seed, arguments) for seed in arguments.seeds}
        console.print(tabulate(task, found))
        for seed, one in found.items():
            gone = ", ".join(name for name in one["removed"][1:])
            console.print(f"seed {seed}, in the order of leaving: {gone}")
            if one["better"]:
                console.print(f"  better choices of as many members: {one['better']}")


if __name__ == "__main__":
    main()
