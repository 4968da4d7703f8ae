"""`flwr run .` from the project's root, as its documentation says."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import psutil
import pytest

from federation.deployment.flower import environment, program
from federation.deployment.loopback import free_port
from registry import Registry

ROOT = Path(__file__).parents[2]
BINARIES = Path(sys.executable).parent


@pytest.fixture
def flower(tmp_path):
    """Environment of a Flower of this test's own; what it has started is stopped, by its ids."""
    home = tmp_path / "flower"
    own = environment(home)
    own["FLWR_LOCAL_SUPERLINK_HTTP_API_PORT"] = str(free_port("127.0.0.1"))
    own["FLWR_LOCAL_CONTROL_API_PORT"] = str(free_port("127.0.0.1"))
    yield own
    for process in psutil.process_iter():
        try:
            ours = process.pid != os.getpid() and process.environ().get("FLWR_HOME") == str(home)
        except psutil.Error:
            continue
        if ours:
            process.kill()


def run(flower, settings, nodes):
    """`flwr run`, and the status of the run that it was."""
    words = " ".join(f"{key}={json.dumps(value)}" for key, value in settings.items())
    command = [program("flwr"), "run", str(ROOT), "--stream", "--run-config", words]
    command += ["--federation-config", f"num-supernodes={nodes}"]
    said = subprocess.run(command, env=flower, capture_output=True, text=True, timeout=600)
    listed = subprocess.run(
        [program("flwr"), "list", "--format", "json"], env=flower, capture_output=True, text=True
    )
    runs = json.loads(listed.stdout)["runs"]
    return runs[0]["status"], said.stdout + said.stderr


@pytest.mark.slow
@pytest.mark.alone
def test_it_ends_in_a_map(flower, scenes, tmp_path):
    registry = tmp_path / "registry"
    settings = {
        "data-root": str(scenes),
        "run-dir": str(tmp_path / "run"),
        "registry": str(registry),
        "rounds": 2,
        "overrides": "data.tile=32 trainer.batch_size=8",
    }
    status, said = run(flower, settings, nodes=3)
    assert status == "finished:completed", said
    assert "Round 2/2 | 3 of 3 nodes" in said
    assert Registry.open(registry).specialist("simulated-federated").version == "1.0.0"
    scene = scenes / "simulated" / "test" / "scene-100" / "simulated_sentinel2.tif"
    command = [BINARIES / "predict-map", scene, "--specialist", "simulated-federated"]
    command += ["--registry", registry, "--out", tmp_path / "map.tif"]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    assert (tmp_path / "map.tif").exists()


@pytest.mark.slow
@pytest.mark.alone
def test_a_key_that_does_not_exist_is_refused(flower, scenes):
    command = [program("flwr"), "run", str(ROOT), "--run-config", "roundss=2"]
    said = subprocess.run(command, env=flower, capture_output=True, text=True, timeout=300)
    assert said.returncode == 1
    assert "Invalid run config" in said.stdout + said.stderr


def test_the_bundle_holds_neither_data_nor_weights(tmp_path):
    """Flower refuses what a bundle may not hold; here is what it does hold."""
    subprocess.run(
        [program("flwr"), "build", "--app", str(ROOT)],
        check=True,
        capture_output=True,
        cwd=tmp_path,
        env=environment(tmp_path / "flower"),
    )
    (bundle,) = tmp_path.glob("*.fab")
    names = zipfile.ZipFile(bundle).namelist()
    assert {Path(name).suffix for name in names} <= {"", ".py", ".toml", ".yaml", ".json"}
    assert not any(name.startswith(("tests", "docs", "benchmarks")) for name in names)
    assert bundle.stat().st_size < 2_000_000
    assert "federation/server_app.py" in names
