"""The quickstart: its folder, its scenes, and what its ensemble finds out about clouds."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio

ROOT = Path(__file__).parents[2]
SMALL = """
import json, sys
from dataclasses import asdict
from pathlib import Path
from examples.simulated_guild import Plan, tell

plan = Plan(
    clear=6, cloudy=12, test_size=128, specialist_epochs=8, trunk_epochs=3, ensemble_epochs=10
)
found = tell(Path(sys.argv[1]), plan)
rows = {cover: asdict(row) for cover, row in found.items()}
Path(sys.argv[1], "found.json").write_text(json.dumps(rows))
"""


def python(*arguments, **environment):
    """Run Python in the checkout, as a user does."""
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_folder_of_others_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    finished = python("-m", "examples.quickstart", "--out", tmp_path)
    assert finished.returncode == 2
    assert "name another --out" in finished.stderr + finished.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_data_that_is_not_there_is_named(tmp_path):
    finished = python("-m", "examples.quickstart", "--data", tmp_path, "--out", tmp_path / "out")
    assert finished.returncode == 2
    assert "neither eurosat_ms/ nor train/" in finished.stderr + finished.stdout
    assert not (tmp_path / "out").exists()


def test_scenes_differ_in_clouds_alone(tmp_path):
    code = (
        "import sys; from pathlib import Path; from examples.simulated_guild import *; "
        "simulate(Path(sys.argv[1]), Plan(clear=1, cloudy=2, test_size=64))"
    )
    finished = python("-c", code, tmp_path)
    assert finished.returncode == 0, finished.stderr
    scenes = tmp_path / "simulated_sensors"
    assert {folder.name: len(list(folder.iterdir())) for folder in scenes.iterdir()} == {
        "clear": 1,
        "cloudy": 2,
        "test": 5,
    }
    stacks, labels = {}, {}
    for cover in (0, 100):
        folder = scenes / "test" / f"cover_{cover:03d}"
        with rasterio.open(folder / "simulated_stack.tif") as stack:
            names = stack.descriptions
            stacks[cover] = stack.read()
        with rasterio.open(folder / "simulated_labels.tif") as classes:
            labels[cover] = classes.read()
    assert len(names) == 12 + 2 + 55
    assert np.isfinite(stacks[0]).all()
    assert np.array_equal(labels[0], labels[100])
    radar = [names.index(name) for name in ("VV", "VH")]
    assert np.array_equal(stacks[0][radar], stacks[100][radar])
    for name in ("B04", names[-1]):
        assert not np.array_equal(stacks[0][names.index(name)], stacks[100][names.index(name)])


@pytest.mark.slow
def test_the_radar_members_weight_rises_with_the_clouds_and_a_copy_leaves(tmp_path):
    finished = python("-c", SMALL, tmp_path, TERRAGUILD_REGISTRY=str(tmp_path / "registry"))
    assert finished.returncode == 0, finished.stdout[-3000:] + finished.stderr[-3000:]
    found = json.loads((tmp_path / "found.json").read_text())
    assert list(found) == ["0", "25", "50", "75", "100"]
    radar = [row["weights"]["simulated-radar@1.0.0"] for row in found.values()]
    # Near 1 there is nothing left to rise, and so short a training leaves a little to chance there.
    assert np.diff(radar).min() > -0.03, radar
    assert radar[-1] - radar[0] > 0.3, radar
    for row in found.values():
        assert sum(row["weights"].values()) == pytest.approx(1, abs=1e-4)
    assert found["0"]["iou"] > found["100"]["iou"] > 0
    for name in ("map.tif", "map_members.tif", "map.png"):
        assert (tmp_path / name).is_file()
    members = "simulated-optical,simulated-radar,simulated-hyperspectral"
    assert f"$ compose-ensemble data=simulated_sensors data.root={tmp_path} " in finished.stdout
    assert f"'members=[{members}]' trunk=simulated-trunk" in finished.stdout
    # The copy goes, or the one that it is a copy of.
    manifest = json.loads((tmp_path / "ensemble" / "ensemble.json").read_text())
    assert (manifest["version"], manifest["action"]) == (3, "prune")
    optical = [pin for pin in manifest["members"] if "optical" in pin["name"]]
    assert len(optical) < 2
