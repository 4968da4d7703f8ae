"""Routed ensembles against single members, averages, concatenation, the trunk and the floors.

    python benchmarks/routing.py --trunk dofa-nano --members eurosat-rgb hls-water ... \
        --tasks eurosat_ms hls_worldcover enmap_potsdam --out runs/routing

Every task is one that no member was trained on. For each, and for each seed, gate and fusion learn
on its training split (`compose-ensemble`); then every encoder is frozen and evaluated by the same
probe (`evaluate-encoder`: `linear` for scenes, `pixel_linear` for pixels) with the same splits:

- `routed`: the two members that the gate chooses for an image; `routed+trunk`: what the trunk saw
  is fused, too;
- `untaught`: the same gate before it learned anything (nearest prototype);
- `static`: the two members that a gate which does not see the image learned to choose;
- `sensor`: the two members whose bands fit best;
- `concat`: all members that can run, behind one another; `average`: the mean of their features;
- every member that can run alone, and the trunk; the floors.

`untaught`, `sensor`, the floors, and all members but the one that was best on the selection split
are evaluated by the first seed alone.

What is finished is not done again. At the end, a table with the score and its interval (bootstrap
over test samples and seeds), parameters that an image touches, multiply-adds, and milliseconds an
image, alone and in a batch, all measured in this run.
"""

import argparse
import json
import os
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from evaluation.config import compose_evaluation
from evaluation.folder import ResultsFolder
from evaluation.run import evaluate
from registry import Registry
from router import Ensemble
from router.composing import compose_ensemble, compose_ensemble_config
from router.manifest import FILE
from sensors import BandPlan
from specialists.data import load_splits
from specialists.named_data import load_data_config

TAUGHT = ("routed", "routed+trunk", "static")
UNTAUGHT: dict[str, dict[str, Any]] = {
    "untaught": {"gate": "routed", "top_k": 2},
    "sensor": {"gate": "sensor", "top_k": 2},
    "concat": {"gate": "uniform"},
    "average": {"gate": "uniform", "fusion": "sum"},
}
console = Console(soft_wrap=True)


def find_members(task: str, arguments: argparse.Namespace, registry: Registry) -> list[str]:
    """References of the members that can run on a data set's bands."""
    data = load_data_config(task, arguments.root, None)
    bands = load_splits(data).chips["train"].bands
    cards = [registry.specialist(name) for name in arguments.members]
    return [
        str(card.reference)
        for card in cards
        if BandPlan.match(card.spec.bands, bands).is_applicable
    ]


def teach(name: str, task: str, seed: int, arguments: argparse.Namespace) -> Path:
    """An ensemble whose gate and fusion learned the task."""
    folder: Path = arguments.out / task / f"{name}_{seed}"
    overrides = [
        f"data={task}",
        f"data.root={arguments.root}",
        f"members=[{','.join(arguments.members)}]",
        f"trunk={arguments.trunk}",
        f"ensemble.gate={name.removesuffix('+trunk')}",
        f"ensemble.trunk_features={name.endswith('+trunk')}",
        f"run_dir={folder}",
        f"seed={seed}",
        f"trainer.epochs={arguments.epochs}",
        "trainer.batch_size=8",
        "trainer.lr=1e-3",
        "trainer.load_balance=0",  # one task at a time: members may be left unused
        "trainer.energy=false",
    ]
    if name != "static":
        overrides.append("trainer.information=1")  # few chips: they are not to be told apart
    return compose_ensemble(compose_ensemble_config(overrides)).path


def compose(name: str, task: str, applicable: list[str], arguments: argparse.Namespace) -> Path:
    """An ensemble that learned nothing; those that run all hold none that cannot."""
    folder: Path = arguments.out / task / name
    if not (folder / FILE).exists():
        settings = UNTAUGHT[name]
        takes_all = settings["gate"] == "uniform"
        members = applicable if takes_all else arguments.members
        trunk = None if takes_all else arguments.trunk
        settings = settings | ({"top_k": len(members)} if takes_all else {})
        Ensemble.compose(members, trunk, **settings).save(folder)
    return folder


def measure(task: str, arguments: argparse.Namespace) -> None:
    """Evaluate everything on one task."""
    registry = Registry.open()
    applicable = find_members(task, arguments, registry)
    console.print(f"{task}: {len(applicable)} of {len(arguments.members)} members can run")
    for seed in arguments.seeds:
        is_first = seed == arguments.seeds[0]
        alone = applicable if is_first else [choose_best(task, arguments)]
        encoders: list[Any] = [
            {"source": str(teach(name, task, seed, arguments)), "name": name} for name in TAUGHT
        ]
        encoders += [
            {"source": str(compose(name, task, applicable, arguments)), "name": name}
            for name in (UNTAUGHT if is_first else ("concat", "average"))
        ]
        encoders += [*alone, {"source": f"trunk:{arguments.trunk}", "name": "trunk"}]
        config = compose_evaluation(
            [
                "encoders=[]",
                f"data_sets=[{task}]",
                "protocols=[linear,pixel_linear]",
                f"seeds=[{seed}]",
                f"root={arguments.root}",
                f"out={arguments.out / task / 'results'}",
                f"efficiency={'all' if is_first else 'none'}",
                "energy_seconds=0.1",
                "examples=0",
            ]
        )
        config.encoders, config.floors = encoders, is_first
        evaluate(config)


def choose_best(task: str, arguments: argparse.Namespace) -> str:
    """The member that is best alone on the selection split, by the first seed."""
    cells = ResultsFolder(arguments.out / task / "results").read_all("cells")
    scores = {
        cell["encoder"]: max(cell["hyperparameters"]["sweep"].values())
        for cell in cells
        if cell["status"] == "done"
        and "@" in cell["encoder"]
        and cell["seed"] == arguments.seeds[0]
    }
    return max(scores, key=lambda name: scores[name])


def report(task: str, arguments: argparse.Namespace) -> Table:
    """The table of one task."""
    folder = ResultsFolder(arguments.out / task / "results")
    results = json.loads(folder.results.read_text())
    costs = {record["encoder"]: record["measured"] for record in folder.read_all("efficiency")}
    best = choose_best(task, arguments)
    table = Table("encoder", "score", "interval", "parameters", "MACs", title=task)
    table.add_column("ms alone", justify="right")
    table.add_column("ms in a batch", justify="right")
    for row in sorted(
        (row for row in results["summary"] if row["is_main"]), key=lambda row: -row["value"]
    ):
        cost = costs.get(row["encoder"], {})
        mark = " (best member by selection)" if row["encoder"] == best else ""
        table.add_row(
            row["encoder"] + mark,
            f"{row['value']:.3f}",
            f"[{row['low']:.3f}, {row['high']:.3f}]",
            *(f"{cost[key] / 1e6:.1f} M" if key in cost else "" for key in ("parameters", "macs")),
            f"{cost['latency_ms']:.1f}" if "latency_ms" in cost else "",
            f"{1000 / cost['images_per_second']:.2f}" if "images_per_second" in cost else "",
        )
    return table


def main() -> None:
    """Teach, evaluate, and print a table for each task."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--members", nargs="+", required=True, help="registered specialists")
    parser.add_argument("--trunk", default="dofa-nano", help="a registered trunk")
    parser.add_argument("--tasks", nargs="+", required=True, help="data sets")
    parser.add_argument("--root", default=os.environ.get("TERRAGUILD_DATA", "data"))
    parser.add_argument("--out", type=Path, required=True, help="folder for everything")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    arguments = parser.parse_args()
    for task in arguments.tasks:
        measure(task, arguments)
        console.print(report(task, arguments))


if __name__ == "__main__":
    main()
