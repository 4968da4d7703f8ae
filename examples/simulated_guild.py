"""Three specialists on simulated scenes, composed to an ensemble that finds its way under clouds.

An optical, a radar and a hyperspectral specialist learn land cover, each from its own sensor under
a clear sky. The ensemble then learns it under clouds, from the labels alone: whom to ask is what it
has to find out, and the table that `compare_cloud_covers` makes shows what it found. In the end a
copy of one specialist joins, which adds nothing, and the pruning pass takes it out again.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import rasterio
from rich.table import Table

from examples.steps import console, run
from rasters import read_raster, write_raster
from rasters.simulate import SIMULATED_TAG, simulate_scene, write_scene

SENSORS = ("optical", "radar", "hyperspectral")
NAME = "simulated-landcover"
TRUNK = "simulated-trunk"
COPY = "simulated-optical-copy"
COVERS = (0, 25, 50, 75, 100)
"""Per cent of a scene under clouds."""
_FILES = ("sentinel2", "sentinel1", "enmap")
_TRAINING_SIZE = 128
_TEST_SEED = 1000
_TILE = 64  # as in configs/data/simulated_sensors.yaml
_EVERY = 4  # of EnMAP's bands with a signal: a quarter says nearly as much


@dataclass(frozen=True)
class Plan:
    """How much there is of everything.

    Args:
        clear, cloudy: Number of training scenes under a clear sky, and under clouds.
        test_size: Side of the test scene in pixels.
        specialist_epochs, trunk_epochs, ensemble_epochs: Passes over the training scenes.
    """

    clear: int = 20
    cloudy: int = 25
    test_size: int = 192
    specialist_epochs: int = 12
    trunk_epochs: int = 5
    ensemble_epochs: int = 12


@dataclass(frozen=True)
class Found:
    """What the ensemble does with the test scene under some clouds.

    Args:
        weights: Member to its mean weight over the tiles.
        iou: Mean over the classes, of the map and the true labels.
    """

    weights: dict[str, float]
    iou: float


def tell(out: Path, plan: Plan) -> dict[int, Found]:
    """Run the story in a folder; returns what `compare_cloud_covers` found."""
    simulate(out, plan)
    train(out, plan)
    compose(out, plan)
    found = compare_cloud_covers(out)
    console.print()
    console.print(show(found))
    files = [str(scene_under(out, 25) / f"simulated_{name}.tif") for name in _FILES]
    run(
        *("predict-map", *files, "--model", NAME, "--out", str(out / "map.tif")),
        *("--members", str(out / "map_members.tif"), "--picture", str(out / "map.png")),
    )
    plant_copy(out)
    prune(out)
    return found


def simulate(out: Path, plan: Plan) -> None:
    """Write the scenes: clear ones, cloudy ones, and one test scene under every cloud cover."""
    console.print(
        "[bold]Simulating scenes.[/] These are [bold]simulated[/] images, not real ones: reference "
        "spectra seen through\nthe bands of Sentinel-2 and EnMAP, and typical backscatter for "
        "Sentinel-1. Scores on them say nothing about\nreal data. To be quick, EnMAP has every "
        f"{_EVERY}th of its bands, and trainings are short."
    )
    folder = out / "simulated_sensors"
    for seed in range(plan.clear):
        _write(folder / "clear" / f"scene_{seed}", seed, _TRAINING_SIZE, 0)
    for number in range(plan.cloudy):
        seed, cover = plan.clear + number, COVERS[number % len(COVERS)]
        _write(folder / "cloudy" / f"scene_{seed}", seed, _TRAINING_SIZE, cover)
    for cover in COVERS:
        _write(scene_under(out, cover), _TEST_SEED, plan.test_size, cover)
    console.print(f"Written: {folder}")


def scene_under(out: Path, cover: int) -> Path:
    """Folder of the test scene under some clouds; the ground is the same under all of them."""
    return out / "simulated_sensors" / "test" / f"cover_{cover:03d}"


def _write(folder: Path, seed: int, size: int, cover: int) -> None:
    """Write a scene, and all of its sensors in one stack on the finest grid."""
    scene = simulate_scene(seed, size=size, cloud_cover=cover / 100)
    alive = scene.enmap.valid.any((1, 2))
    bands = [band for band, is_alive in zip(scene.enmap.bands, alive, strict=True) if is_alive]
    files = write_scene(folder, replace(scene, enmap=scene.enmap.select(bands[::_EVERY])))
    stack = read_raster([files[name] for name in _FILES])
    write_raster(folder / "simulated_stack.tif", stack, tags=SIMULATED_TAG)


def train(out: Path, plan: Plan) -> None:
    """Train and register a trunk, and a specialist for every sensor."""
    run(
        *("pretrain-trunk", "sources=[simulated_sensors]", f"root={out}", "image_size=64"),
        *(f"trainer.epochs={plan.trunk_epochs}", "trainer.batch_size=16"),
        f"run_dir={out / 'trunk'}",
    )
    _register(out / "trunk", TRUNK)
    for sensor in SENSORS:
        run(
            *("train-specialist", "experiment=simulated", f"data=simulated_{sensor}"),
            *(f"data.root={out}", "specialist.decoder=linear"),
            *(f"trainer.epochs={plan.specialist_epochs}", f"run_dir={out / sensor}"),
        )
        _register(out / sensor, f"simulated-{sensor}", "--trunk", TRUNK)


def compose(out: Path, plan: Plan) -> None:
    """Compose the three, teach the ensemble land cover under clouds, and register it."""
    members = ",".join(f"simulated-{sensor}" for sensor in SENSORS)
    run(
        *("compose-ensemble", "data=simulated_sensors", f"data.root={out}"),
        *(f"members=[{members}]", f"trunk={TRUNK}"),
        *(f"trainer.epochs={plan.ensemble_epochs}", "trainer.batch_size=8"),
        f"run_dir={out / 'ensemble'}",
    )
    _register(out / "ensemble", NAME)


def plant_copy(out: Path) -> None:
    """Register the optical specialist once more, and add it to the ensemble as a fourth member."""
    from registry import Registry
    from router.ensemble_files import load_task_ensemble, save_ensemble

    _register(out / "optical", COPY, "--trunk", TRUNK)
    console.print(
        "\n[bold]A copy that adds nothing joins[/], in Python:\n"
        f'  network.ensemble.add("{COPY}")\n'
        '  save_ensemble(network, folder, "add")'
    )
    registry = Registry.open(out / "registry")
    network = load_task_ensemble(out / "ensemble", registry)
    network.ensemble.add(COPY, registry)
    save_ensemble(network, out / "ensemble", "add", ["planted: a copy of simulated-optical"])


def prune(out: Path) -> None:
    """Find out who can go; no more than a point of IoU may be lost."""
    run(
        *("prune-ensemble", str(out / "ensemble"), "data=simulated_sensors"),
        *(f"data.root={out}", "refit.epochs=2", "budget.drop=0.01"),
    )


def _register(folder: Path, name: str, *options: str) -> None:
    run(
        *("register-specialist", str(folder), "--name", name, "--version", "1.0.0"),
        *("--license", "Apache-2.0", *options),
    )


def compare_cloud_covers(out: Path) -> dict[int, Found]:
    """Map the test scene under every cloud cover, and ask the gate about its tiles."""
    # Imported here: torch takes seconds, and the commands before need none of it in this process.
    from mapping import predict_map
    from rasters import ChipDataset
    from registry import Registry
    from router.composing.usage import ALL, measure_usage
    from router.ensemble_files import load_task_ensemble

    console.print(
        "\n[bold]The same ground under more and more clouds[/], in Python:\n"
        f'  network = load_task_ensemble("{NAME}", Registry.open())\n'
        "  usage = measure_usage(network.ensemble, chips)\n"
        "  predict_map(scene, network, out)"
    )
    network = load_task_ensemble(NAME, Registry.open(out / "registry")).freeze()
    found = {}
    for cover in COVERS:
        scene = scene_under(out, cover) / "simulated_stack.tif"
        chips = ChipDataset.from_images([scene], tile=_TILE)
        usage = measure_usage(network.ensemble, chips, gsd=network.spec.gsd, title=f"{cover} %")
        map_path = scene.with_name("map.tif")
        predict_map(scene, network, map_path, progress=False)
        found[cover] = Found(
            {name: share.weight for name, share in usage.shares[ALL].items()},
            mean_iou(map_path, scene.with_name("simulated_labels.tif")),
        )
    return found


def mean_iou(map_path: Path, labels_path: Path) -> float:
    """Mean intersection over union of a map and the true labels, over the classes there are."""
    with rasterio.open(map_path) as mapped, rasterio.open(labels_path) as labelled:
        names = json.loads(labelled.tags()["TERRAGUILD_CLASSES"])
        order = json.loads(mapped.tags()["TERRAGUILD_CLASSES"])
        map_HW, labels_HW = mapped.read(1), labelled.read(1)
    scores = []
    for index, name in enumerate(names):
        truth, found = labels_HW == index, map_HW == order.index(name)
        if truth.any():
            scores.append((truth & found).sum() / (truth | found).sum())
    return float(np.mean(scores))


def show(found: dict[int, Found]) -> Table:
    """The table of what was found."""
    members = sorted(next(iter(found.values())).weights)
    table = Table("clouds", title="Mean gate weight of each member, and the map's IoU")
    for name in (*members, "IoU"):
        table.add_column(name.removeprefix("simulated-").split("@")[0], justify="right")
    for cover, row in found.items():
        weights = (f"{row.weights[name]:.2f}" for name in members)
        table.add_row(f"{cover} %", *weights, f"{row.iou:.3f}")
    return table
