"""Nodes that train together, against one that has everything and nodes that stay alone.

    python benchmarks/federation.py eurosat_ms --data-root ../shared/data --nodes 5 \
        --partitions iid label location sensor --methods fedavg fedprox --out runs/federation

For every seed and every way to divide the training chips among nodes, all with the same number of
passes over the chips:

- `central`: `train-specialist` on all chips, its best epoch on held-out ones;
- `alone`: each node by itself, in as many rounds; the mean over nodes;
- the methods: the nodes together, by Flower, in one process; with a precision on the wire
  (`fedavg:int8`), or with node 1 against the others (`median:opposite`: it sends five times the
  opposite of what it has learned).

All are scored on the experiment's own test split; nodes end with the last round's weights. Beside
every mean over the seeds stands half the width of its 95 % interval (t). With `sensor`, nodes see
their chips as the sensors of `--sensors` would, and the network has a stem for any bands (`central`
does, too, and sees all bands). `--per-class` takes so many training chips of each class, always the
same ones. A cell that was finished is not run again.
"""

import argparse
import json
from pathlib import Path
from random import Random
from statistics import mean, stdev
from typing import Any

from flwr.app import Context, Message
from flwr.clientapp import ClientApp
from flwr.clientapp.typing import ClientAppCallable
from rich.console import Console
from rich.table import Table
from scipy.stats import t as student

from federation.client_app import build_app
from federation.in_process import InProcessGrid, divided_nodes
from federation.memory import node_number
from federation.records import ARRAYS, from_record, to_record
from federation.server import run_server
from federation.settings import Settings
from federation.wire import PRECISIONS
from specialists.config import compose_config
from specialists.metrics import selection_metric
from specialists.spec import SpecialistSpec
from specialists.train import train_specialist

SENSORS = "sentinel-2-l1c,landsat-8-c2-l2,sentinel-2-l1c:B04+B03+B02"


def main() -> None:
    options = parse_options()
    if options.per_class:
        link_some(options)
    console = Console()
    for seed in options.seeds:
        for partition in options.partitions:
            for method in methods_of(options):
                for node in nodes_of(options, method):
                    score = read_score(run_cell(options, seed, partition, method, node))
                    which = "" if node is None else f" {node}"
                    console.print(f"seed {seed}, {partition}, {method}{which}: {score:.4f}")
    report(options, console)


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("experiment")
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--overrides", default="", help="Hydra overrides, separated by spaces")
    parser.add_argument("--node-overrides", default="", help="further ones, not for `central`")
    parser.add_argument("--nodes", type=int, default=5)
    parser.add_argument("--partitions", nargs="+", default=["iid", "label"])
    parser.add_argument("--baselines", nargs="*", default=["central", "alone"])
    parser.add_argument("--methods", nargs="+", default=["fedavg", "fedprox"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--local-epochs", type=int, default=2)
    parser.add_argument("--proximal-mu", type=float, default=0.01)
    parser.add_argument("--dirichlet-alpha", type=float, default=0.5)
    parser.add_argument("--sensors", default=SENSORS)
    parser.add_argument("--per-class", type=int, default=0)
    return parser.parse_args()


def link_some(options: argparse.Namespace) -> None:
    """Make a data root with `--per-class` training chips of each class, and all other splits."""
    source, target = options.data_root.resolve(), options.out.resolve() / "data"
    for folder in sorted(
        path for path in source.glob(f"{options.experiment}/*/*") if path.is_dir()
    ):
        files = sorted(folder.iterdir())
        if folder.parent.name == "train" and len(files) > options.per_class:
            files = sorted(Random(0).sample(files, options.per_class))
        place = target / folder.relative_to(source)
        place.mkdir(parents=True, exist_ok=True)
        for file in files:
            if not (place / file.name).exists():
                (place / file.name).symlink_to(file)
    options.data_root = target


def run_cell(
    options: argparse.Namespace, seed: int, partition: str, method: str, node: int | None
) -> Path:
    """The folder of one cell; it is not run again if it was finished."""
    by_sensor = partition == "sensor"
    # All bands and all chips: central training is the same for every way to divide them.
    place = (
        f"{seed}/{'any' if by_sensor else 'fixed'}"
        if method == "central"
        else f"{seed}/{partition}"
    )
    folder = (
        options.out.resolve()
        / place
        / (method.replace(":", "-") if node is None else f"{method}-{node}")
    )
    if not (folder / "metrics.json").exists():
        stem = " specialist.stem=wavelength" if by_sensor else ""
        overrides = f"{options.overrides}{stem}".strip()
        if method == "central":
            train_central(options, seed, overrides, folder)
        else:
            overrides = f"{overrides} {options.node_overrides}".strip()
            federate(options, seed, partition, method, node, overrides, folder)
    return folder


def read_score(folder: Path) -> float:
    """The test score of a finished cell."""
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
    strategy, _, way = method.partition(":")
    nodes: list[dict[str, Any]] = list(divided_nodes(options.nodes))
    settings = Settings(
        experiment=options.experiment,
        overrides=overrides,
        data_root=str(options.data_root.resolve()),
        run_dir=str(folder),
        registry=str(options.out.resolve() / "registry"),
        name=f"{partition}-{method.replace(':', '-')}-{node}-{seed}".lower(),
        seed=seed,
        rounds=options.rounds,
        local_epochs=options.local_epochs,
        min_nodes=1 if node is not None else options.nodes,
        partition="iid" if by_sensor else partition,
        sensors=options.sensors if by_sensor else "",
        dirichlet_alpha=options.dirichlet_alpha,
        strategy="fedavg" if node is not None else strategy,
        precision=way if way in PRECISIONS else "float32",
        keep="last",
        proximal_mu=options.proximal_mu,
    )
    taking_part = nodes if node is None else nodes[node : node + 1]
    app = opposing_app() if way == "opposite" else build_app()
    run_server(InProcessGrid(taking_part, settings.to_run_config(), app), settings)


def opposing_app() -> ClientApp:
    """The nodes' app, with a node 1 that wants the others to unlearn."""

    def oppose(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
        given = from_record(message.content.array_records[ARRAYS])
        reply = call_next(message, context)
        if node_number(context) == 1:
            learned = from_record(reply.content.array_records[ARRAYS])
            reply.content[ARRAYS] = to_record(
                {name: array - 5 * (learned[name] - array) for name, array in given.items()}
            )
        return reply

    return build_app(over_weights=oppose)


def report(options: argparse.Namespace, console: Console) -> None:
    table = Table(title=f"{options.experiment}, {options.nodes} nodes, test score")
    for name in ("divided by", *methods_of(options)):
        table.add_column(name, justify="right")
    sent = Table(title="Bytes of one round, of all nodes together")
    for name in ("method", "down", "up", "up / float32"):
        sent.add_column(name, justify="right")
    record: dict[str, Any] = {
        "options": {name: str(value) for name, value in vars(options).items()}
    }
    for partition in options.partitions:
        found = {method: summarise(options, partition, method) for method in methods_of(options)}
        record[partition] = found
        cells = (f"{one['mean']:.3f} ± {one['half_width']:.3f}" for one in found.values())
        table.add_row(partition, *cells)
    for method in options.methods:
        down, up = count_round(options, options.partitions[0], method)
        _, whole = count_round(options, options.partitions[0], options.methods[0])
        record[f"bytes of {method}"] = {"down": down, "up": up}
        sent.add_row(method, f"{down / 1e6:.2f} MB", f"{up / 1e6:.2f} MB", f"{up / whole:.3f}")
    console.print(table)
    console.print(sent)
    (options.out / "federation.json").write_text(json.dumps(record, indent=2) + "\n")
    console.print(f"Written to {options.out / 'federation.json'}")


def methods_of(options: argparse.Namespace) -> list[str]:
    """All columns."""
    return [*options.baselines, *options.methods]


def nodes_of(options: argparse.Namespace, method: str) -> list[int | None]:
    """The nodes that train by themselves; None is all together."""
    return list(range(options.nodes)) if method == "alone" else [None]


def summarise(options: argparse.Namespace, partition: str, method: str) -> dict[str, Any]:
    """Mean over the seeds, half the width of its interval, and the scores of every cell."""
    scores = [
        [
            read_score(run_cell(options, seed, partition, method, node))
            for node in nodes_of(options, method)
        ]
        for seed in options.seeds
    ]
    values, count = [mean(found) for found in scores], len(scores)
    width = float(student.ppf(0.975, count - 1)) * stdev(values) / count**0.5 if count > 1 else 0.0
    return {"mean": mean(values), "half_width": width, "scores": scores}


def count_round(options: argparse.Namespace, partition: str, method: str) -> tuple[float, float]:
    """Mean bytes down and up of a round of the first seed."""
    folder = run_cell(options, options.seeds[0], partition, method, None)
    training = json.loads((folder / "training.json").read_text())["federation"]
    return (
        training["bytes_down"] / training["rounds"],
        training["bytes_up"] / training["rounds"],
    )


if __name__ == "__main__":
    main()
