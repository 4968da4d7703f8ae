"""Whatever a run has left behind goes into a registry."""

import json
import os
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
import yaml
from rich.console import Console
from torch.testing import assert_close

from registry import Registry
from registry.checksum import file_sha256
from router import TRUNKS, build_trunk, load_trunk, save_trunk
from router.ensemble import Ensemble
from router.ensemble_files import save_ensemble
from router.find import find_trunk
from router.manifest import read_manifest
from router.prototypes import compute_prototype
from router.registering import main, register_run, register_trunk
from router.task_ensemble import TaskEnsemble
from router.trunk_spec import DOFA_V1
from sensors import InputError, load_sensor
from specialists import SpecialistSpec, build_specialist
from specialists.data import ChipsConfig, DataConfig, load_splits
from specialists.files import save_weights
from specialists.task_spec import TaskSpec

BANDS = load_sensor("rgb-aerial").channels
TASK = {
    "task": "scene-classification",
    "bands": BANDS,
    "classes": ("field", "lake", "roof"),
    "mean": (0.3, 0.3, 0.3),
    "std": (0.2, 0.2, 0.2),
    "gsd": 1.0,
    "chip_size": 16,
}
DATA = DataConfig(
    name="toy",
    title="Toy scenes",
    licence="CC0-1.0",
    source="made",
    kind="folders",
    train=ChipsConfig(),
    sensor="rgb-aerial",
    gsd=1.0,
)
FACTS = {"version": "1.0.0", "license": "MIT"}


@pytest.fixture
def registry(tmp_path):
    return Registry.open(tmp_path / "registry")


@pytest.fixture
def run_dir(tmp_path, toy_data):
    """What `train-specialist` leaves behind, as far as a registry reads it."""
    data = replace(DATA, train=ChipsConfig(folder=str(toy_data / "scenes")))
    torch.manual_seed(0)
    specialist = build_specialist(SpecialistSpec(**TASK))
    folder = tmp_path / "run"
    save_weights(specialist, folder / "weights.safetensors")
    recorded = {"name": "toy", "licence": "CC0-1.0", "split_hash": load_splits(data).digest()}
    scores = {"test": {"macro_f1": 0.9, "accuracy": 0.9}}
    for name, content in {
        "spec": specialist.spec.to_dict(),
        "training": {"data": recorded, "pretrained": None},
        "metrics": scores | {"floors": {"majority": {"macro_f1": 0.2, "accuracy": 0.3}}},
    }.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    (folder / "config.yaml").write_text(yaml.safe_dump({"name": "a", "data": asdict(data)}))
    return folder


@pytest.fixture
def trunk_run(tmp_path, make_trunk):
    """What `pretrain-trunk` leaves behind, as far as a registry reads it."""
    folder = tmp_path / "trunk-run"
    save_trunk(make_trunk(), folder / "weights.safetensors")
    sources = [{"name": "s2", "licence": "CC-BY-4.0", "counts": {"train": 5}}]
    start = {"file": "before.safetensors", "sha256": "ab" * 32, "sources": []}
    training = {"data": {"sources": sources}, "start": start}
    (folder / "training.json").write_text(json.dumps(training))
    (folder / "metrics.json").write_text(json.dumps({"mse": 0.5}))
    return folder


@pytest.fixture
def guild(registry, run_dir, make_trunk):
    """A trunk and two specialists with prototypes in its space."""
    register_trunk(registry, make_trunk(), name="eye", **FACTS)
    for name in ("first", "second"):
        register_run(registry, run_dir, name=name, trunk="eye", chips=4, **FACTS)
    return registry


def test_a_specialist_is_registered_with_its_prototype(registry, run_dir, trunk_run, make_trunk):
    trunk = register_run(registry, trunk_run, name="eye", **FACTS)

    card = register_run(registry, run_dir, name="toy-scenes", trunk="eye", chips=9, **FACTS)

    folder = yaml.safe_load((run_dir / "config.yaml").read_text())["data"]["train"]["folder"]
    recorded = ChipsConfig(folder=folder)
    chips = load_splits(replace(DATA, train=recorded)).chips["train"]
    assert card.prototypes == (compute_prototype(make_trunk(), trunk.sha256, chips, limit=9),)
    assert registry.specialist("toy-scenes") == card
    assert card.metrics["test"]["accuracy"] == 0.9
    assert registry.get("toy-scenes").spec.classes == TASK["classes"]


def test_without_a_trunk_a_specialist_has_no_prototype(registry, run_dir):
    (run_dir / "config.yaml").unlink()  # nothing needs it
    assert register_run(registry, run_dir, name="toy-scenes", **FACTS).prototypes == ()


def test_a_prototype_that_cannot_be_had_leaves_nothing(guild, run_dir):
    config = (run_dir / "config.yaml").read_text().replace("scenes", "elsewhere")
    (run_dir / "config.yaml").write_text(config)
    for trunk, message in (("eye", "training data"), ("dofa-nano", "is not a trunk of")):
        with pytest.raises(InputError, match=message):
            register_run(guild, run_dir, name="third", trunk=trunk, **FACTS)
    assert [card.name for card in guild.list()] == ["eye", "first", "second"]


def test_a_trunk_run_is_registered_with_all_it_recorded(registry, trunk_run, make_trunk):
    card = register_run(registry, trunk_run, name="eye", description="Sees.", **FACTS)

    trunk = make_trunk()
    assert (card.kind, card.description, card.license) == ("trunk", "Sees.", "MIT")
    assert card.spec == trunk.spec.to_dict()
    assert card.sha256 == file_sha256(trunk_run / "weights.safetensors")
    assert card.parameters == sum(weight.numel() for weight in trunk.parameters())
    assert card.macs > 64 * 64  # every pixel is looked at
    assert card.feature_channels == tuple(trunk.feature_info.channels())
    assert card.metrics == {"mse": 0.5}
    assert card.training["data"]["sources"][0]["name"] == "s2"
    assert card.parents == ("sha256:" + "ab" * 32,)
    assert registry.card("eye") == card
    assert_close(find_trunk("eye", registry).state_dict(), trunk.state_dict(), rtol=0, atol=0)


def test_a_trunk_alone_is_registered(registry, make_trunk, tmp_path):
    save_trunk(make_trunk(), tmp_path / "own.safetensors")
    published = build_trunk(replace(TRUNKS["dofa-small"], **DOFA_V1))
    torch.save(published.state_dict(), tmp_path / "dofa.pth")

    by_file = register_run(registry, tmp_path / "own.safetensors", name="file", **FACTS)
    in_memory = register_trunk(registry, make_trunk(), name="memory", metrics={"mse": 1}, **FACTS)
    outside = register_run(registry, tmp_path / "dofa.pth", name="outside", **FACTS)

    assert by_file.sha256 == in_memory.sha256 == file_sha256(tmp_path / "own.safetensors")
    assert in_memory.metrics == {"mse": 1}
    assert load_trunk(registry.weights("outside", kind="trunk")).spec == published.spec
    assert outside.parents == (f"sha256:{file_sha256(tmp_path / 'dofa.pth')}",)


def test_an_ensemble_is_registered_and_pins_its_parts(guild, tmp_path):
    ensemble = Ensemble.compose(["first", "second"], "eye", top_k=1, registry=guild)
    folder = tmp_path / "ensemble"
    ensemble.save(folder)
    (folder / "metrics.json").write_text(json.dumps({"test": {"accuracy": 0.8}}))

    card = register_run(guild, folder, name="guild", **FACTS)

    manifest = read_manifest(folder)
    members = [guild.card(name) for name in ("first", "second")]
    trunk = guild.card("eye")
    assert card.spec == manifest.to_dict() == guild.card("guild").spec
    assert card.sha256 == manifest.weights_sha256
    assert card.pinned == {
        "member:first@1.0.0": members[0].sha256,
        "member:second@1.0.0": members[1].sha256,
        "trunk": trunk.sha256,
    }
    assert card.macs == members[0].macs + trunk.macs
    own = sum(value.numel() for value in ensemble.state_dict().values())
    assert card.parameters == 2 * members[0].parameters + trunk.parameters + own
    assert (card.task, card.bands, card.gsd, card.classes) == (None, (), None, ())
    assert card.metrics == {"test": {"accuracy": 0.8}}
    assert card.parents == ("first@1.0.0", "second@1.0.0", "eye@1.0.0")
    assert guild.weights("guild", kind="ensemble").read_bytes()
    assert guild.verify() == {}


def test_a_registered_ensemble_opens_after_its_parts_are_removed(guild, tmp_path):
    ensemble = Ensemble.compose(["first", "second"], "eye", top_k=1, registry=guild).eval()
    ensemble.save(tmp_path / "ensemble")
    register_run(guild, tmp_path / "ensemble", name="guild", **FACTS)
    for name in ("first", "second", "eye"):
        guild.remove(f"{name}@1.0.0")

    again = Ensemble.load("guild@1.0.0", guild)

    x_BCHW = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        wanted, found = (net.forward_features(x_BCHW, BANDS) for net in (ensemble, again))
    assert_close(found, wanted)


def test_an_ensemble_that_answers_says_what(guild, tmp_path):
    ensemble = Ensemble.compose(["first"], top_k=1, gate="uniform", registry=guild)
    save_ensemble(TaskEnsemble(ensemble, TaskSpec(**TASK)), tmp_path / "ensemble")

    card = register_run(guild, tmp_path / "ensemble", name="guild", **FACTS)

    assert (card.task, card.classes) == ("scene-classification", TASK["classes"])
    assert (card.bands, card.gsd) == (BANDS, 1.0)
    assert [found.name for found in guild.search(kind="ensemble", bands=BANDS, gsd=1)] == ["guild"]
    assert card.pinned.keys() == {"member:first@1.0.0"}
    assert card.macs == guild.card("first").macs


def test_parts_that_are_not_there_are_named(guild, tmp_path, make_trunk):
    Ensemble.compose(["first", "second"], "eye", registry=guild).save(tmp_path / "ensemble")
    guild.remove("first@1.0.0")
    guild.remove("eye@1.0.0")
    register_trunk(guild, make_trunk(depth=5), name="eye", **FACTS)

    with pytest.raises(InputError, match=r"first@1\.0\.0 is missing; eye@1\.0\.0 is there with"):
        register_run(guild, tmp_path / "ensemble", name="guild", **FACTS)
    assert [card.name for card in guild.list()] == ["eye", "second"]


def test_an_ensemble_whose_weights_were_changed_is_refused(guild, tmp_path):
    Ensemble.compose(["first"], top_k=1, registry=guild).save(tmp_path / "ensemble")
    weights = tmp_path / "ensemble" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(InputError, match="restore the file"):
        register_run(guild, tmp_path / "ensemble", name="guild", **FACTS)


def test_what_cannot_be_registered_says_why(registry, run_dir, trunk_run, tmp_path):
    (tmp_path / "empty").mkdir()
    weights = run_dir / "weights.safetensors"
    for source, message in (
        (tmp_path / "empty", "holds nothing to register"),
        ("dofa-nano", "holds nothing to register"),
        (weights, "register its run folder"),
    ):
        with pytest.raises(InputError, match=message):
            register_run(registry, source, name="any-name", **FACTS)
    with pytest.raises(InputError, match="is no specialist"):
        register_run(registry, trunk_run, name="any-name", trunk="eye", **FACTS)
    for folder, command in ((run_dir, "train-specialist"), (trunk_run, "pretrain-trunk")):
        (folder / "metrics.json").unlink()
        with pytest.raises(InputError, match=f"run {command} with the same run_dir"):
            register_run(registry, folder, name="any-name", **FACTS)
    assert not registry.store.root.exists()


@pytest.fixture
def command(monkeypatch, registry):
    """Runs the command in this process; returns its exit code."""
    monkeypatch.setattr("router.registering.console", Console(width=200))

    def run(*arguments):
        root = ["--registry", str(registry.store.root)]
        monkeypatch.setattr(sys, "argv", ["command", *map(str, arguments), *root])
        try:
            main()
        except SystemExit as stopped:
            return stopped.code
        return 0

    return run


def test_the_command(command, registry, run_dir, trunk_run, capsys, caplog, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    facts = ("--version", "1.0.0", "--description", "From a test.")
    assert command(trunk_run, "--name", "eye", *facts, "--license", "MIT") == 0
    assert command(run_dir, "--name", "toy", *facts, "--trunk", "eye", "--chips", "3") == 0
    shown = capsys.readouterr().out
    assert "From a test." in shown
    assert f"of 3 chips, for the trunk with sha256 {registry.card('eye').sha256}" in shown
    assert f"toy@1.0.0 is registered in {registry.store.root}" in shown
    assert len(caplog.messages) == 1
    assert "toy@1.0.0: the licence of its weights is not stated" in caplog.text

    assert command(run_dir, "--name", "toy", *facts, "--license", "MIT") == 2
    assert "already" in capsys.readouterr().err
    assert registry.card("toy").license == "other"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["no-such-run", "--name", "abc", "--version", "1.0.0"], "no-such-run"),
        (["run", "--name", "abc"], "--version"),
        (["run", "--name", "../abc", "--version", "1.0.0"], "not a model name"),
    ],
)
def test_bad_input_exits_with_2_and_leaves_nothing(arguments, message, command, registry, capsys):
    assert command(*arguments) == 2
    assert message in capsys.readouterr().err
    assert not registry.store.root.exists()


@pytest.mark.slow
def test_the_installed_commands(tmp_path, run_dir):
    environment = os.environ | {
        "TERRAGUILD_REGISTRY": str(tmp_path / "named"),
        "OMP_NUM_THREADS": "1",
        "COLUMNS": "200",
    }

    def run(name, *arguments):
        return subprocess.run(
            [Path(sys.executable).parent / name, *arguments],
            capture_output=True,
            text=True,
            check=False,
            env=environment,
        )

    facts = ("--name", "s2-landcover", "--version", "1.0.0")
    registered = run("register-specialist", run_dir, *facts)
    assert registered.returncode == 0, registered.stderr
    assert f"is registered in {tmp_path / 'named'}" in registered.stdout
    assert "s2-landcover@1.0.0: the licence of its weights is not stated" in registered.stderr

    again = run("register-specialist", run_dir, *facts)
    assert again.returncode == 2
    assert again.stderr.startswith("error: s2-landcover@1.0.0 is in the registry")

    listed = run("specialist-registry", "list", "--json")
    assert listed.returncode == 0
    assert len(json.loads(listed.stdout)["features"]) == 1
