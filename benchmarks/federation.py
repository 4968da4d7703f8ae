"""Nodes that train together, against one that has everything and nodes that stay alone.

    python benchmarks/federation.py eurosat_ms --data-root ../shared/data --clients 5 \
        --partitions iid label location sensor --strategies fedavg fedprox --out runs/federation

For every seed and every way to divide the training chips among nodes, all with the same number of
passes over the chips:

- `central`: `train-specialist` on all chips;
- `alone`: each node by itself, in as many rounds; the mean over nodes;
- the strategies: the nodes together, by Flower, in one process.

All are scored on the experiment's own test split; weights are those of the best round (epoch) on
held-out chips. Beside every mean over the seeds stands half the width of its 95 % interval (t).
With `sensor`, nodes see their chips as the sensors of `--sensors` would, and the network has a stem
for any bands (`central` does, too, and sees all bands). A cell that was finished is not run again.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from rich.console import Console
from rich.table import Table
from scipy.stats import t as student

from federation.in_process import InProcessGrid, divided_nodes
from federation.server import run_server
from federation.settings import Settings
from specialists.config import compose_config
from specialists.metrics import selection_metric
from specialists.spec import SpecialistSpec
from specialists.train import train_specialist

SENSORS = "sentinel-2-l1c,landsat-8-c2-l2,sentinel-2-l1c:B04+B03+B02"


def main() -> None:
    options = parse_options()
    console = Console()
    for seed in options.seeds:
        for partition in options.partitions:
            cells = [("central", None), *((name, None) for name in options.strategies)]
            cells += [("alone", node) for node in range(options.clients)]
            for method, node in cells:
                score = run_cell(options, seed, partition, method, node)
                console.print(f"seed {seed}, {partition}, {method} {node or ''}: {score:.4f}")
    report(options, console)


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("experiment")
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--overrides", default="", help="Hydra overrides, separated by spaces")
    parser.add_argument("--clients", type=int, default=5)
    parser.add_argument("--partitions", nargs="+", default=["iid", "label"])
    parser.add_argument("--strategies", nargs="+", default=["fedavg", "fedprox"])
    parser.add_argument("--precisions", nargs="+", default=["float32"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--local-epochs", type=int, default=2)
    parser.add_argument("--proximal-mu", type=float, default=0.01)
    parser.add_argument("--dirichlet-alpha", type=float, default=0.5)
    parser.add_argument("--sensors", default=SENSORS)
    return parser.parse_args()


def run_cell(
    options: argparse.Namespace, seed: int, partition: str, method: str, node: int | None
) -> float:
    """The test score of one cell; from its folder if it was finished."""
    by_sensor = partition == "sensor"
    # All bands and all chips: central training is the same for every way to divide them.
    place = (
        f"{seed}/{'any' if by_sensor else 'fixed'}"
        if method == "central"
        else f"{seed}/{partition}"
    )
    folder = options.out.resolve() / place / (method if node is None else f"{method}-{node}")
    if not (folder / "metrics.json").exists():
        stem = " specialist.stem=wavelength" if by_sensor else ""
        overrides = f"{options.overrides}{stem}".strip()
        if method == "central":
            train_central(options, seed, overrides, folder)
        else:
            federate(options, seed, partition, method, node, overrides, folder)
    spec = SpecialistSpec.from_dict(json.loads((folder / "spec.json").read_text()))
    metric, _ = selection_metric(spec)
    return float(json.loads((folder / "metrics.json").read_text())["test"][metric])


def train_central(options: argparse.Namespace, seed: int, overrides: str, folder: Path) -> None:
    epochs = options.rounds * options.local_epochs
    config = compose_config(
        [
            f"experiment={options.experiment}",
            f"data.root={options.data_root.resolve()}",
            f"run_dir={folder}",
            f"seed={seed}",
            f"trainer.epochs={epochs}",
            *overrides.split(),
        ]
    )
    train_specialist(config)


def federate(
    options: argparse.Namespace,
    seed: int,
    partition: str,
    method: str,
    node: int | None,
    overrides: str,
    folder: Path,
) -> None:
    by_sensor = partition == "sensor"
    nodes: list[dict[str, Any]] = list(divided_nodes(options.clients))
    settings = Settings(
        experiment=options.experiment,
        overrides=overrides,
        data_root=str(options.data_root.resolve()),
        run_dir=str(folder),
        registry=str(options.out.resolve() / "registry"),
        name=f"{partition}-{method}-{node}-{seed}".lower(),
        seed=seed,
        rounds=options.rounds,
        local_epochs=options.local_epochs,
        min_nodes=1 if node is not None else options.clients,
        partition="iid" if by_sensor else partition,
        sensors=options.sensors if by_sensor else "",
        dirichlet_alpha=options.dirichlet_alpha,
        strategy="fedavg" if node is not None else method,
        proximal_mu=options.proximal_mu,
    )
    taking_part = nodes if node is None else nodes[node : node + 1]
    run_server(InProcessGrid(taking_part, settings.to_run_config()), settings)


def report(options: argparse.Namespace, console: Console) -> None:
    table = Table(title=f"{options.experiment}, {options.clients} nodes, test score")
    for name in ("divided by", "central", "alone", *options.strategies):
        table.add_column(name, justify="right")
    record = {}
    for partition in options.partitions:
        found = dict(summarise(options, partition))
        record[partition] = found
        table.add_row(partition, *(f"{value:.3f} ± {width:.3f}" for value, width in found.values()))
    console.print(table)
    (options.out / "federation.json").write_text(json.dumps(record, indent=2) + "\n")
    console.print(f"Written to {options.out / 'federation.json'}")


def summarise(
    options: argparse.Namespace, partition: str
) -> Iterator[tuple[str, tuple[float, float]]]:
    """Mean over the seeds, and half the width of its interval, of every method."""
    for method in ("central", "alone", *options.strategies):
        nodes = range(options.clients) if method == "alone" else [None]
        values = [
            mean(run_cell(options, seed, partition, method, node) for node in nodes)
            for seed in options.seeds
        ]
        count = len(values)
        width = (
            float(student.ppf(0.975, count - 1)) * stdev(values) / count**0.5 if count > 1 else 0.0
        )
        yield method, (mean(values), width)


if __name__ == "__main__":
    main()
