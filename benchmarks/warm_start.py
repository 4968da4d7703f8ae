"""Specialists from a warm start against specialists from noise, on the same few labels.

    pretrain-backbone data=eurosat_rgb run_dir=runs/start trainer.epochs=20
    python benchmarks/warm_start.py runs/start/weights.safetensors --out runs/warm_start

For each share of the labels and each seed, the same chips are drawn (the same share of every
class, a fifth of them to choose the best epoch by), and two specialists are trained on them by one
recipe with one number of steps; only the backbone's first weights differ. Runs that are finished
are not done again.
"""

import argparse
import json
import os
import random
import statistics
from pathlib import Path

from rich.console import Console
from rich.table import Table

from specialists.config import compose_config
from specialists.named_data import load_data_config
from specialists.train import train_specialist

RECIPES = {0.01: (75, 16), 0.1: (30, 64), 1.0: (3, 64)}
"""Epochs and batch size by share of the labels: about 300 steps of eurosat_rgb each."""


def draw_chips(folder: Path, drawn: Path, share: float, seed: int) -> None:
    """Link the same share of every class folder, at least two chips, into a folder of its own."""
    for classes in sorted(path for path in folder.iterdir() if path.is_dir()):
        chips = sorted(classes.iterdir())
        chosen = random.Random(f"{seed} {classes.name}").sample(
            chips, max(2, round(share * len(chips)))
        )
        (drawn / classes.name).mkdir(parents=True, exist_ok=True)
        for chip in chosen:
            link = drawn / classes.name / chip.name
            if not link.is_symlink():
                link.symlink_to(chip.resolve())


def train(arguments: argparse.Namespace, share: float, seed: int, start: Path | None) -> float:
    """Accuracy on the test split of one specialist."""
    data = load_data_config(arguments.data, arguments.root)
    drawn = arguments.out / "chips" / f"{share:g}_{seed}"
    draw_chips(Path(data.train.folder or ""), drawn, share, seed)
    epochs, batch_size = RECIPES[share]
    folder = arguments.out / f"{'noise' if start is None else 'start'}_{share:g}_{seed}"
    overrides = [
        f"data={arguments.data}",
        f"data.root={arguments.root}",
        f"data.train.folder={drawn}",
        "data.split.fractions.selection=0.2",
        f"run_dir={folder}",
        f"seed={seed}",
        f"trainer.epochs={epochs}",
        f"trainer.batch_size={batch_size}",
        "trainer.energy=false",
    ]
    if start is not None:
        overrides.append(f"specialist.pretrained.file={start}")
        overrides.append("specialist.pretrained.licence=MIT")
    run = train_specialist(compose_config(overrides))
    metrics = json.loads((run.path / "metrics.json").read_text())
    return float(metrics["test"]["accuracy"])


def main() -> None:
    """Train all, and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("start", type=Path, help="weights of pretrain-backbone")
    parser.add_argument("--data", default="eurosat_rgb", help="a data set of class folders")
    parser.add_argument("--root", default=os.environ.get("TERRAGUILD_DATA", "data"))
    parser.add_argument("--out", type=Path, required=True, help="folder for the runs")
    parser.add_argument("--shares", type=float, nargs="+", default=list(RECIPES))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    arguments = parser.parse_args()
    table = Table("labels", "from noise", "warm start", "difference by seed")
    for share in arguments.shares:
        pairs = [
            [train(arguments, share, seed, start) for start in (None, arguments.start)]
            for seed in arguments.seeds
        ]
        noise, warm = (statistics.mean(column) for column in zip(*pairs, strict=True))
        differences = " ".join(f"{after - before:+.3f}" for before, after in pairs)
        table.add_row(f"{share:.0%}", f"{noise:.3f}", f"{warm:.3f}", differences)
    Console().print(table)


if __name__ == "__main__":
    main()
