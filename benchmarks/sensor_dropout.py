"""An ensemble that loses a sensor: optical and radar while it learns, radar alone afterwards.

    python benchmarks/sensor_dropout.py --trunk dofa-nano --radar sen1floods11 \
        --optical s2-l2a-unlabelled hls-water --out runs/dropout

On the one chip of Sen1Floods11 that has Sentinel-1 and Sentinel-2 (Spain; no member was trained on
it), flood is mapped: the western half teaches, a strip chooses the epoch, the east is the test.
Three networks learn with the same recipe and number of steps:

- `routed`: members of both sensors, a routed gate, `trainer.sensor_dropout=0.3`;
- `fixed`: the same members, all always run (`uniform`), never a sensor missing while it learned;
- `radar only`: the radar member alone, on radar alone.

The test is done with both sensors, and without the optical one: `routed` is told that its bands are
not there and re-routes; `fixed` cannot be told, and gets zeros in their place.
"""

import argparse
import os
import statistics
from pathlib import Path

import numpy as np
import rasterio
import torch
from affine import Affine
from rich.console import Console
from rich.table import Table
from torch.utils.data import DataLoader

from rasters import IGNORE_INDEX, ChipDataset, RasterImage, read_raster
from rasters.write import write_class_map, write_raster
from registry import Registry
from router import load_task_ensemble
from router.composing import compose_ensemble, compose_ensemble_config
from sensors import SarChannel
from specialists.loading import collate
from specialists.metrics import TaskMetrics

CHIP = "Spain_7370579"
CLASSES = ("land", "water")
PARTS = {"train": (0, 256), "selection": (256, 320), "test": (320, 512)}
"""First and last column of each split."""


def prepare(root: Path, folder: Path) -> None:
    """Cut the chip into the splits' images, of both sensors and of radar alone, and masks."""
    radar = read_raster(
        root / "S1" / f"{CHIP}_S1Hand.tif", sensor="sentinel-1-grd", bands=["VV", "VH"]
    )
    names = [f"B{number:02d}" for number in range(1, 13)]
    optical = read_raster(
        root / "S2" / f"{CHIP}_S2Hand.tif",
        sensor="sentinel-2-l1c",
        bands=[*names[:8], "B8A", *names[8:]],
    )
    both = RasterImage(
        np.concatenate([optical.pixels, radar.pixels]),
        np.concatenate([optical.valid, radar.valid]),
        (*optical.bands, *radar.bands),
        radar.transform,
        radar.crs,
    )
    with rasterio.open(root / "Labels" / f"{CHIP}_LabelHand.tif") as file:
        labels_HW = file.read(1)
    folder.mkdir(parents=True, exist_ok=True)
    for part, columns in PARTS.items():
        for name, image in {"both": both, "radar": radar}.items():
            write_raster(folder / f"{name}_{part}.tif", _cut(image, columns))
        write_class_map(
            folder / f"labels_{part}.tif",
            np.where(labels_HW < 0, IGNORE_INDEX, labels_HW)[:, slice(*columns)].astype(np.uint8),
            class_names=CLASSES,
            transform=radar.transform @ Affine.translation(columns[0], 0),
            crs=radar.crs,
        )


def _cut(image: RasterImage, columns: tuple[int, int]) -> RasterImage:
    span = np.s_[:, :, slice(*columns)]
    transform = image.transform @ Affine.translation(columns[0], 0)
    return RasterImage(image.pixels[span], image.valid[span], image.bands, transform, image.crs)


def teach(name: str, seed: int, arguments: argparse.Namespace) -> Path:
    """The run of one network."""
    sensors = "radar" if name == "radar only" else "both"
    members = [arguments.radar] if name == "radar only" else [arguments.radar, *arguments.optical]
    settings = {
        "routed": [f"trunk={arguments.trunk}", "ensemble.top_k=2", "trainer.sensor_dropout=0.3"],
        "fixed": ["ensemble.gate=uniform", "ensemble.top_k=1"],
        "radar only": ["ensemble.gate=uniform", "ensemble.top_k=1"],
    }
    folder: Path = arguments.out / f"{name.replace(' ', '_')}_{seed}"
    overrides = ["data=pairs", "name=spain_flood", f"run_dir={folder}", f"seed={seed}"]
    for part in PARTS:
        overrides.append(f"data.{part}.images={arguments.out}/chips/{sensors}_{part}.tif")
        overrides.append(f"data.{part}.masks={arguments.out}/chips/labels_{part}.tif")
    overrides += [
        f"data.classes=[{','.join(CLASSES)}]",
        "data.tile=64",
        "data.gsd=10",
        f"members=[{','.join(members)}]",
        *settings[name],
        f"trainer.epochs={arguments.epochs}",
        "trainer.batch_size=8",
        "trainer.lr=1e-3",
        "trainer.load_balance=0",
        "trainer.energy=false",
    ]
    return compose_ensemble(compose_ensemble_config(overrides)).path


@torch.no_grad()
def score(run: Path, chips: ChipDataset, optical: str) -> float:
    """Mean IoU over test chips whose optical bands are `there`, `missing`, or `zero`."""
    network = load_task_ensemble(run, Registry.open())
    metrics = TaskMetrics(network.spec)
    lost = [c for c, band in enumerate(chips.bands) if not isinstance(band, SarChannel)]
    for batch in DataLoader(chips, 8, collate_fn=collate):
        x_BCHW, valid_BCHW = batch["image"], batch["valid"]
        if optical == "missing":
            valid_BCHW[:, lost] = False
        if optical == "zero":
            x_BCHW[:, lost] = 0
        metrics.update(network.predict(x_BCHW, valid=valid_BCHW), batch["mask"])
    return float(metrics.compute()["miou"])  # type: ignore[arg-type]


def main() -> None:
    """Teach all, and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--radar", required=True, help="registered specialist of radar")
    parser.add_argument("--optical", nargs="+", required=True, help="registered specialists")
    parser.add_argument("--trunk", default="dofa-nano", help="a registered trunk")
    parser.add_argument("--root", default=os.environ.get("TERRAGUILD_DATA", "data"))
    parser.add_argument("--out", type=Path, required=True, help="folder for everything")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    arguments = parser.parse_args()
    prepare(Path(arguments.root) / "sen1floods11", arguments.out / "chips")
    table = Table("network", "optical bands", "mean IoU", "by seed")
    for name, states in {
        "routed": ("there", "missing"),
        "fixed": ("there", "zero"),
        "radar only": ("missing",),
    }.items():
        runs = [teach(name, seed, arguments) for seed in arguments.seeds]
        sensors = "radar" if name == "radar only" else "both"
        chips = ChipDataset.from_pairs(
            arguments.out / "chips" / f"{sensors}_test.tif",
            arguments.out / "chips" / "labels_test.tif",
            classes=CLASSES,
            tile=64,
        )
        for state in states:
            scores = [score(run, chips, "there" if sensors == "radar" else state) for run in runs]
            by_seed = " ".join(f"{value:.3f}" for value in scores)
            table.add_row(name, state, f"{statistics.mean(scores):.3f}", by_seed)
    Console().print(table)


if __name__ == "__main__":
    main()
