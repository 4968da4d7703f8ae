"""Runs: what is frozen stays, the gate learns, and a killed run ends like any other."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from router.composing import EnsembleConfig, compose_ensemble
from router.composing.parts import open_parts
from router.ensemble import Ensemble
from router.ensemble_files import load_task_ensemble
from router.manifest import list_manifests, read_manifest
from sensors import InputError
from specialists.config import HeadConfig
from specialists.data import ChipsConfig
from specialists.splitting import SplitConfig

RUN_FILES = {"config.yaml", "spec.json", "weights.safetensors", "metrics.json", "training.json"}
ENSEMBLE_FILES = {"ensemble.json", "manifests", "gate_usage.json", "gate_usage.png"}
ROOT = Path(__file__).parents[3]
COMMAND = [
    sys.executable,
    "-c",
    "import sys\n"
    "from router.composing.cli import fit_main\n"
    "from sensors.errors import exit_on_input_error\n"
    "exit_on_input_error(lambda: fit_main(sys.argv[1:]))()",
]


def hash_tensors(module):
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(name.encode() + tensor.detach().contiguous().numpy().tobytes())
    return digest.hexdigest()


def frozen_parts(ensemble):
    parts = {member.reference: member.network for member in ensemble.members}
    return {name: hash_tensors(part) for name, part in (parts | {"trunk": ensemble.trunk}).items()}


def toy_scenes(toy_data, **entries):
    split = SplitConfig(fractions={"selection": 0.25, "test": 0.25}, seed=1)
    chips = ChipsConfig(table=str(toy_data / "labels.csv"))
    return {
        "kind": "table",
        "train": chips,
        "split": split,
        "sensor": "rgb-aerial",
        "gsd": 10,
    } | entries


def test_gate_fusion_and_head_learn_and_members_stay_as_they_are(
    make_config, registry, monkeypatch
):
    config = make_config(epochs=8)
    opened = []

    def keep(*arguments):
        opened.append(open_parts(*arguments))
        return opened[-1]

    monkeypatch.setattr("router.composing.run.open_parts", keep)
    start = Ensemble.compose(
        config.members, config.trunk, registry=registry, **config.ensemble.settings(has_trunk=True)
    )
    before, gate, fusion = frozen_parts(start), hash_tensors(start.gate), hash_tensors(start.fusion)
    run = compose_ensemble(config, command="compose-ensemble ...")
    assert run.status == "finished"
    assert {path.name for path in run.path.iterdir()} == (
        RUN_FILES | ENSEMBLE_FILES | {"checkpoints", "logs"}
    )
    # The very networks that were there while it learned.
    [(taught, _)] = opened
    assert frozen_parts(taught) == before
    assert hash_tensors(taught.gate) != gate
    assert hash_tensors(taught.fusion) != fusion
    metrics, training = run.read_json("metrics.json"), run.read_json("training.json")
    assert metrics["test"]["accuracy"] > 0.8
    assert metrics["floors"]["majority"]["accuracy"] < 0.6
    assert training["data"]["licence"] == "CC0-1.0"
    assert training["command"] == "compose-ensemble ..."
    assert [pin["name"] for pin in training["ensemble"]["members"]] == ["optical", "radar"]
    [manifest] = list_manifests(run.path)
    assert (manifest.version, manifest.action) == (1, "fit")
    assert f"accuracy {metrics['selection']['accuracy']:.4f}" in manifest.reasons[0]
    assert manifest.weights_file == "weights.safetensors"
    checkpoint = torch.load(run.last_checkpoint, weights_only=True)["state_dict"]
    parts = {".".join(name.split(".")[:3]) for name in checkpoint}
    assert parts == {
        "specialist.ensemble.gate",
        "specialist.ensemble.fusion",
        "specialist.head.norm",
        "specialist.head.fc",
    }
    # A clouded image goes to the radar member, for it alone can run.
    usage = run.read_json("gate_usage.json")
    assert usage["split"] == "test"
    assert usage["nobody"] == 0
    assert usage["members"]["radar@1.0.0"]["can_run"] == 1
    assert 0 < usage["members"]["optical@1.0.0"]["can_run"] < 1
    assert set(usage["classes"]) == {"field", "lake", "roof"}


def test_what_was_written_answers_as_it_was_scored(make_config, registry, two_sensors):
    from rasters import ChipDataset

    run = compose_ensemble(make_config(epochs=6))
    network = load_task_ensemble(run.path, registry)
    chips = ChipDataset.from_folders(two_sensors)
    batch = [chips[number] for number in range(len(chips))]
    image, valid = (torch.stack([chip[key] for chip in batch]) for key in ("image", "valid"))
    labels = torch.stack([chip["label"] for chip in batch])
    order = [3, 1, 0, 2]
    bands = [chips.bands[place] for place in order]
    classes = network.predict(image[:, order], bands, valid[:, order]).argmax(1)
    assert (classes == labels).float().mean() > 0.8
    # Without the optical bands, the radar member answers alone.
    assert (network.predict(image[:, 2:], chips.bands[2:]).argmax(1) == labels).float().mean() > 0.5


def test_a_run_goes_on_with_what_it_recorded(make_config, registry):
    config = make_config(epochs=2)
    run = compose_ensemble(config)
    weights, metrics = run.weights.read_bytes(), run.read_json("metrics.json")
    # As if the process had been killed between the manifest and the scores.
    (run.path / "metrics.json").unlink()
    assert compose_ensemble(config).weights.read_bytes() == weights
    assert run.read_json("metrics.json") == metrics
    assert [manifest.version for manifest in list_manifests(run.path)] == [1]


def test_a_finished_run_is_left_alone_and_cleared_only_on_demand(make_config):
    config = make_config(epochs=1)
    run = compose_ensemble(config)
    Ensemble.load(run.path, _registry_of(config)).save(run.path, "refine", ["by hand"])
    (run.path / "weights-0002.safetensors").write_bytes(b"of an earlier ensemble")
    manifest = read_manifest(run.path)
    assert manifest.version == 2
    compose_ensemble(config)
    assert read_manifest(run.path) == manifest
    compose_ensemble(replace(config, overwrite=True))
    assert read_manifest(run.path).version == 1
    assert not (run.path / "weights-0002.safetensors").exists()


def _registry_of(config):
    from registry import Registry

    return Registry.open(config.registry)


def test_an_ensemble_goes_on_to_another_task_and_to_its_own(make_config, registry, tmp_path):
    first = compose_ensemble(make_config(epochs=6))
    again = make_config((), None, ensemble={"top_k": 2, "trunk_image_size": 64})
    again = replace(again, start=str(first.path), run_dir=str(tmp_path / "again"))
    # So small a learning rate that what it had learned is what it says.
    again.trainer.lr = 1e-9
    second = compose_ensemble(again)
    scores = [run.read_json("metrics.json")["test"]["accuracy"] for run in (first, second)]
    assert scores[0] == scores[1] > 0.8
    [manifest] = list_manifests(second.path)
    assert manifest.action == "refine"
    assert manifest.spec.top_k == 1
    assert "manifest 1 of run" in manifest.reasons[1]
    # A head for other classes begins anew.
    other = replace(again, run_dir=str(tmp_path / "other"))
    other.data.classes = ["lake", "roof", "field"]
    third = compose_ensemble(other)
    network = load_task_ensemble(third.path, registry)
    assert network.spec.classes == ("lake", "roof", "field")
    old = load_task_ensemble(first.path, registry)
    assert not torch.allclose(network.head.fc.weight, old.head.fc.weight, atol=1e-3)
    assert torch.allclose(network.ensemble.fusion.bias[0], old.ensemble.fusion.bias[0], atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("trunk", "ensemble"),
    [
        (None, {}),
        (None, {"gate": "static", "top_k": 2}),
        (None, {"gate": "uniform", "fusion": "sum"}),
        ("small-trunk", {"gate": "soft", "fusion": "attention"}),
        ("small-trunk", {"gate": "static", "trunk_features": True}),
    ],
)
def test_every_kind_of_gate_and_fusion_learns(make_config, trunk, ensemble):
    config = make_config(trunk=trunk, ensemble=ensemble, epochs=8, entropy=0.01)
    assert compose_ensemble(config).read_json("metrics.json")["test"]["accuracy"] > 0.6


@pytest.mark.slow
def test_an_ensemble_that_loses_sensors_answers_without_them(make_config, registry, two_sensors):
    from rasters import ChipDataset

    run = compose_ensemble(make_config(epochs=12, sensor_dropout=0.5, ensemble={"top_k": 2}))
    network = load_task_ensemble(run.path, registry)
    for names in (["red", "nir"], ["VV", "VH"]):
        chips = ChipDataset.from_folders(two_sensors, bands=names)
        clear = [number for number in range(len(chips)) if chips[number]["valid"].all()]
        image = torch.stack([chips[number]["image"] for number in clear])
        labels = torch.tensor([chips[number]["label"] for number in clear])
        assert (network.predict(image, chips.bands).argmax(1) == labels).float().mean() > 0.8


@pytest.mark.slow
def test_several_labels_values_and_pixels_are_learned(make_config, toy_data, colors, tmp_path):
    settings = {"epochs": 12, "ensemble": {"top_k": 2, "gate": "uniform"}, "trunk": None}
    data = toy_scenes(toy_data, label_column="labels", multi_label=True)
    config = replace(make_config(colors, data=data, **settings), run_dir=str(tmp_path / "labels"))
    run = compose_ensemble(config)
    assert run.read_json("metrics.json")["test"]["map"] > 0.8
    assert {"cool", "wet"} <= set(run.read_json("gate_usage.json")["classes"])
    data = toy_scenes(toy_data, task="regression", label_column=["warmth", "depth"])
    config = replace(make_config(colors, data=data, **settings), run_dir=str(tmp_path / "values"))
    metrics = compose_ensemble(config).read_json("metrics.json")
    assert metrics["test"]["rmse"] < metrics["floors"]["majority"]["rmse"]
    images = ChipsConfig(images=str(toy_data / "images"), masks=str(toy_data / "masks"))
    groups = {"by": "group", "group_pattern": r"^(\d)", "assign": {"selection": ["0", "1"]}}
    data = toy_scenes(toy_data, kind="pairs", train=images, split=SplitConfig(**groups))
    data |= {"task": "semantic-segmentation", "classes": ["dark", "bright"]}
    for decoder in ("linear", "unet"):
        config = make_config(colors, data=data, **settings | {"batch_size": 2})
        config = replace(
            config, head=HeadConfig("pool", decoder=decoder), run_dir=str(tmp_path / decoder)
        )
        run = compose_ensemble(config)
        metrics = run.read_json("metrics.json")
        assert metrics["selection"]["miou"] > metrics["floors"]["majority"]["miou"] + 0.15
        usage = run.read_json("gate_usage.json")
        assert usage["split"] == "selection"
        assert usage["classes"] == {}


def test_what_cannot_be_taught_is_refused_and_leaves_nothing(make_config, toy_data):
    unlabelled = {
        "kind": "images",
        "task": "similarity-search",
        "train": ChipsConfig(images=str(toy_data / "images")),
        "sensor": "rgb-aerial",
    }
    for config, message in (
        (make_config(()), "no members"),
        (make_config(start="nowhere"), "leave out members, trunk, ensemble"),
        (make_config(("nowhere",)), "nowhere"),
        (make_config(("optical", "optical@1.0.0")), "named twice"),
        (make_config(trunk="nowhere"), "'nowhere' is not a trunk of the registry"),
        (make_config(ensemble={"top_k": 3}), "top_k 3 is larger"),
        (make_config(ensemble={"gate": "best"}), "gate 'best'"),
        (make_config(trunk=None, ensemble={"gate": "routed"}), "needs a trunk"),
        (make_config(("thermal",)), "no member can run on the bands of the data, red, nir, VV, VH"),
        (make_config(data=unlabelled), "cannot run|no labels"),
        (make_config(head=HeadConfig(head="tail")), "tail"),
        (make_config(sensor_dropout=1.5), "between 0 and 1"),
        (make_config(noise=-1), "trainer.noise -1"),
        (make_config(data={"bands": ["VV", "VH"]}, sensor_dropout=0.5), "radar bands alone"),
        (make_config(("radar",), trunk=None, sensor_dropout=0.5), "without the radar bands no"),
    ):
        with pytest.raises(InputError, match=message):
            compose_ensemble(config)
        assert not Path(config.run_dir).exists()


def test_a_run_never_clears_the_ensemble_that_it_starts_from(make_config):
    run = compose_ensemble(make_config(epochs=1))
    before = run.weights.read_bytes()
    config = replace(make_config((), None), start=str(run.path), overwrite=True)
    config = replace(config, ensemble=EnsembleConfig())
    with pytest.raises(InputError, match="lies in run_dir"):
        compose_ensemble(config)
    assert run.weights.read_bytes() == before


@pytest.mark.slow
def test_killed_run_resumes_to_the_same_bytes(two_sensors, registry, tmp_path):
    overrides = [
        "data=folders",
        f"data.train.folder={two_sensors}",
        "data.sensor=null",
        "data.split.fractions={selection: 0.25, test: 0.25}",
        "members=[optical@1.0.0,radar]",
        "trunk=small-trunk",
        f"registry={registry.store.root}",
        "ensemble.top_k=1",
        "ensemble.trunk_image_size=16",
        "trainer.epochs=5",
        "trainer.batch_size=6",
        "trainer.ema=0.5",
        "trainer.sensor_dropout=0.3",
        "trainer.accelerator=cpu",
        "head.drop_rate=0.1",
    ]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    shown = fit([*overrides, f"run_dir={whole}"]).stdout
    assert f"register-specialist {whole}" in shown
    with subprocess.Popen(
        [*COMMAND, *overrides, f"run_dir={killed}"],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    ) as process:
        wait_for_epoch(killed / "checkpoints" / "last.ckpt", 1, process)
        process.send_signal(signal.SIGKILL)
    assert not (killed / "metrics.json").exists()
    assert "Going on from" in fit([*overrides, f"run_dir={killed}"]).stdout
    for name in ("weights.safetensors", "metrics.json", "spec.json", "gate_usage.json"):
        assert (killed / name).read_bytes() == (whole / name).read_bytes()
    manifests = [read_manifest(folder) for folder in (whole, killed)]
    assert manifests[0].weights_sha256 == manifests[1].weights_sha256


@pytest.mark.slow
def test_bad_input_exits_with_2(two_sensors, registry, tmp_path):
    overrides = [
        "data=folders",
        f"data.train.folder={two_sensors}",
        "data.sensor=null",
        "members=[optical,radar]",
        f"registry={registry.store.root}",
        "ensemble.top_k=5",
        f"run_dir={tmp_path / 'run'}",
    ]
    result = fit(overrides, code=2)
    assert result.stderr.startswith("error:")
    assert "top_k 5 is larger" in result.stderr
    assert not any(tmp_path.iterdir())


def fit(overrides, code=0):
    result = subprocess.run(
        [*COMMAND, *overrides],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == code, result.stderr
    return result


def wait_for_epoch(checkpoint, epoch, process, timeout=300):
    """Until an epoch (counted from 0) is saved; the file appears whole at any time."""
    end = time.monotonic() + timeout
    while time.monotonic() < end and process.poll() is None:
        if checkpoint.exists() and torch.load(checkpoint, weights_only=True)["epoch"] >= epoch:
            return
        time.sleep(0.05)
    pytest.fail(f"epoch {epoch} was not saved; exit code {process.poll()}")
