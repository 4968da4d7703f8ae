"""Planted redundancy leaves an ensemble, and nothing else; what a budget asks is what is done."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from evaluation.integration_history import rollback
from evaluation.pruning import prune
from evaluation.pruning_cli import main
from evaluation.pruning_config import compose_pruning
from registry import Registry
from router.composing import compose_ensemble, compose_ensemble_config
from router.ensemble import Ensemble
from router.ensemble_files import load_task_ensemble, save_ensemble
from router.manifest import list_manifests, read_manifest
from router.pruning.absorbing import absorb, want
from router.pruning.parts import Parts
from router.pruning.recording import record
from sensors import InputError, load_sensor
from specialists import SpecialistSpec, build_specialist
from specialists.data import load_splits

RED, GREEN, BLUE = load_sensor("rgb-aerial").channels
CLASSES = ("dark", "red", "blue", "both")
COPIES = ("red@1.0.0", "red-again@1.0.0", "red-once-more@1.0.0")
COMMAND = str(Path(sys.executable).with_name("prune-ensemble"))


def add(registry: Registry, name: str, band, seed: int, *, noise: bool = False) -> None:
    torch.manual_seed(seed)
    spec = SpecialistSpec(
        task="scene-classification",
        bands=(band,),
        classes=("a", "b"),
        mean=(0.5,),
        std=(0.2,),
        gsd=1.0,
        chip_size=16,
        head="pool",
    )
    specialist = build_specialist(spec)
    if noise:  # kernels without a mean see nothing of how bright a chip is
        with torch.no_grad():
            kernel = next(iter(specialist.backbone.parameters()))
            kernel -= kernel.mean((2, 3), keepdim=True)
    registry.add(specialist, name=name, version="1.0.0", license="Apache-2.0")


@pytest.fixture(scope="module")
def crowd(tmp_path_factory) -> Registry:
    """Two members that are needed, two copies of one of them, and one that sees noise alone."""
    registry = Registry.open(tmp_path_factory.mktemp("crowd"))
    for name in ("red", "red-again", "red-once-more"):
        add(registry, name, RED, 1)
    add(registry, "blue", BLUE, 2)
    add(registry, "noise", GREEN, 3, noise=True)
    add(registry, "radar", load_sensor("sentinel-1-grd").select("VV")[0], 4)
    return registry


@pytest.fixture(scope="module")
def four_colours(tmp_path_factory) -> Path:
    """Folder with configurations, and scenes whose class takes the red and the blue band."""
    folder = tmp_path_factory.mktemp("four-colours")
    draw = np.random.default_rng(0)
    for number, name in enumerate(CLASSES):
        (folder / "scenes" / name).mkdir(parents=True)
        level = np.array([number % 2, 0.5, number // 2]) * 90 + 80
        for chip in range(24):
            pixels = level + draw.normal(0, 25, (16, 16, 3))
            image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
            image.save(folder / "scenes" / name / f"{name}_{chip}.png")
    (folder / "data").mkdir()
    entries = {
        "name": "four_colours",
        "title": "four colours",
        "kind": "folders",
        "train": {"folder": str(folder / "scenes")},
        "sensor": "rgb-aerial",
        "gsd": 1.0,
        "licence": "CC0-1.0",
        "source": "the tests",
        "split": {"by": "hash", "fractions": {"selection": 0.3, "test": 0.3}},
    }
    (folder / "data" / "four_colours.yaml").write_text(yaml.safe_dump(entries))
    for name in CLASSES:
        place = folder / "others" / f"not_{name}"
        shutil.copytree(folder / "scenes" / name, place)
    other = entries | {"name": "other", "train": {"folder": str(folder / "others")}}
    (folder / "data" / "other.yaml").write_text(yaml.safe_dump(other))
    return folder


@pytest.fixture(scope="module")
def taught(crowd, four_colours, tmp_path_factory) -> Path:
    """An ensemble of them all, but for the radar, that learned the colours."""
    folder = tmp_path_factory.mktemp("taught") / "ensemble"
    names = [name.split("@")[0] for name in (*COPIES, "blue", "noise")]
    words = [
        "data=four_colours",
        f"members=[{','.join(names)}]",
        f"registry={crowd.store.root}",
        "ensemble.gate=uniform",
        "ensemble.channels=[8,16,24,32]",
        f"run_dir={folder}",
        "trainer.epochs=12",
        "trainer.batch_size=8",
        "trainer.lr=3e-3",
        "trainer.energy=false",
        "trainer.accelerator=cpu",
    ]
    compose_ensemble(compose_ensemble_config(words, four_colours))
    return folder


@pytest.fixture
def folder(taught, tmp_path) -> Path:
    """A copy of it, for a test alone."""
    return Path(shutil.copytree(taught, tmp_path / "ensemble"))


@pytest.fixture
def run(crowd, four_colours):
    def run(folder, *words, data="four_colours", dry_run=False):
        settings = [f"data={data}", f"registry={crowd.store.root}", "device=cpu", "refit.epochs=1"]
        return prune(
            compose_pruning(str(folder), [*settings, *words], four_colours, dry_run=dry_run)
        )

    return run


@pytest.fixture
def call(monkeypatch, run_main, crowd, four_colours):
    """Run the command; gives its exit code and what it printed."""

    def call(*words):
        monkeypatch.setenv("TERRAGUILD_REGISTRY", str(crowd.store.root))
        words = [*words, "--config-dir", four_colours]
        return run_main(main, "prune-ensemble", *words, columns="250")

    return call


@pytest.fixture
def pair(folder, crowd) -> Path:
    """The ensemble with the two members that are needed."""
    network = load_task_ensemble(folder, crowd)
    for name in (*COPIES[1:], "noise"):
        network.ensemble.remove(name)
    save_ensemble(network, folder, "remove")
    return folder


def members_of(folder):
    return {str(pin.reference) for pin in read_manifest(folder).members}


def own_files(folder):
    """What the ensemble is: every file of its folder but the measurements."""
    names = ("ensemble.json", "manifests", "weights*")
    files = [path for name in names for path in folder.glob(name)]
    files += list((folder / "manifests").glob("*"))
    return {path.name: path.read_bytes() for path in files if path.is_file()}


@pytest.mark.slow
def test_copies_and_noise_leave_and_what_stays_answers_as_before(folder, run, crowd):
    whole = load_task_ensemble(folder, crowd)
    found = run(folder, "exhaustive=true")
    assert found.rows[0].score.value > 0.9
    left = members_of(folder)
    assert len(left) == 2
    assert "blue@1.0.0" in left
    assert len(left & set(COPIES)) == 1
    # Copies go without a trace: the fused features are what they were.
    assert found.redundancy.losses["red-again@1.0.0"] == pytest.approx(0, abs=1e-6)
    assert found.redundancy.losses["blue@1.0.0"] > 0.2
    images = torch.rand(8, 3, 16, 16)
    small = load_task_ensemble(folder, crowd)
    agree = small.predict(images).argmax(1) == whole.predict(images).argmax(1)
    assert agree.float().mean() >= 0.75
    # Alike by the numbers, too.
    name, alike = found.redundancy.most_alike("red@1.0.0")
    assert (name in COPIES, alike) == (True, pytest.approx(1, abs=1e-3))
    noise = found.redundancy.members.index("noise@1.0.0")
    blue = found.redundancy.members.index("blue@1.0.0")
    assert found.redundancy.mean_alignment[noise, blue] < 0.5
    assert found.redundancy.complement["blue@1.0.0"] > 0.2
    assert abs(found.redundancy.complement["red@1.0.0"]) < 0.05
    # No other choice of as many members is better.
    assert found.better[found.chosen] == 0
    before, after = found.rows[0], found.rows[found.chosen + 1]
    assert after.macs < 0.45 * before.macs
    assert after.parameters < 0.45 * before.parameters
    assert after.file_bytes < 0.45 * before.file_bytes
    assert after.score.value > before.score.value - 0.05
    manifest = read_manifest(folder)
    assert (manifest.version, manifest.parent, manifest.action) == (2, 1, "prune")
    text = "\n".join(manifest.reasons)
    assert "noise@1.0.0 went" in text
    assert "a loss of at most 0.005" in text
    for name in ("redundancy.json", "redundancy.png", "pareto.png", "pruning.json"):
        assert (found.folder / name).stat().st_size > 100
    # The registry has them all, and there is a way back.
    rollback(folder, 1, crowd)
    assert members_of(folder) == {str(member.pin.reference) for member in whole.ensemble.members}
    again = load_task_ensemble(folder, crowd)
    torch.testing.assert_close(again.predict(images), whole.predict(images))


def test_a_copy_is_taken_over_within_tolerance(taught, crowd, four_colours, tmp_path):
    config = compose_pruning("x", ["data=four_colours"], four_colours)
    chips = load_splits(config.data).chips
    whole = load_task_ensemble(taught, crowd)
    train = record(whole, chips["train"], tmp_path / "train")
    parts = Parts(whole, train)
    unseen = record(whole, chips["test"], tmp_path / "test")
    rows = torch.arange(len(unseen))
    # What was recorded gives what the ensemble itself says.
    batch = torch.stack([chips["test"][row]["image"] for row in range(len(unseen))])
    torch.testing.assert_close(parts.answer(unseen, rows)[1], whole.predict(batch))
    wanted = want(parts, train)
    left = parts.without("red-again@1.0.0")
    absorb(left, train, wanted)
    for level, before in zip(left(unseen, rows)[1], parts(unseen, rows)[1], strict=True):
        torch.testing.assert_close(level, before, atol=1e-4, rtol=1e-4)
    network = left.to_network(None)
    torch.testing.assert_close(left.answer(unseen, rows)[1], network.predict(batch))


@pytest.mark.slow
def test_a_budget_of_costs_takes_the_best_that_meets_it(folder, run):
    dry = run(folder, dry_run=True)
    assert dry.manifest is None
    assert read_manifest(folder).version == 1
    limit = dry.rows[3].parameters + 1  # three members
    found = run(folder, f"budget.parameters={limit}")
    assert len(members_of(folder)) <= 3
    assert found.rows[found.chosen + 1].parameters <= limit


def test_a_budget_that_cannot_be_met_says_how_near_it_came(pair, call):
    before = own_files(pair)
    words = (pair, "data=four_colours", "refit.epochs=0", "budget.macs=1000", "budget.drop=0.01")
    code, printed = call(*words)
    assert code == 2
    assert "cannot be met" in printed
    assert "1 members" in printed
    assert "the cheapest that is good enough has" in printed
    assert own_files(pair) == before


def test_a_member_of_which_the_data_say_nothing_stays(pair, run, crowd):
    network = load_task_ensemble(pair, crowd)
    network.ensemble.add("radar", crowd)
    save_ensemble(network, pair, "add")
    found = run(pair, "budget.drop=1")
    assert len(members_of(pair)) == 2
    assert "radar@1.0.0" in members_of(pair)
    assert all("radar@1.0.0" in step.members for step in found.steps)
    assert np.isnan(found.redundancy.complement["radar@1.0.0"])
    assert any("the data say nothing of it" in reason for reason in found.manifest.reasons)


@pytest.mark.slow
def test_a_killed_run_goes_on_and_the_ensemble_is_whole(folder, crowd, four_colours):
    before = own_files(folder)
    words = [COMMAND, str(folder), "data=four_colours", f"registry={crowd.store.root}"]
    words += ["--config-dir", str(four_colours), "device=cpu", "refit.epochs=1"]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    steps = folder / "pruning"
    deadline = time.monotonic() + 240
    while not list(steps.glob("*/steps/step_01.json")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert own_files(folder) == before
    [file] = steps.glob("*/steps/step_01.json")
    kept = file.stat().st_mtime_ns
    done = subprocess.run(
        words, capture_output=True, text=True, env=os.environ | {"COLUMNS": "200"}
    )
    assert done.returncode == 0, done.stderr
    assert file.stat().st_mtime_ns == kept
    assert read_manifest(folder).version == 2
    assert "is at manifest 2" in done.stdout
    assert len(members_of(folder)) == 2


def test_bad_input(folder, run, call, crowd, tmp_path):
    before = own_files(folder)
    with pytest.raises(InputError, match="answers scene-classification of blue, both"):
        run(folder, data="other")
    for words in (["budget.drop=-1"], ["budget.macs=0"], ["refit.lr=0"], ["chips=0"]):
        with pytest.raises(InputError, match=words[0].split("=")[0]):
            run(folder, *words)
    headless = tmp_path / "headless"
    Ensemble.compose(["red", "blue"], registry=crowd).save(headless)
    with pytest.raises(InputError, match="has no head"):
        run(headless)
    network = load_task_ensemble(folder, crowd)
    for name in (*COPIES, "noise"):
        network.ensemble.remove(name)
    alone = tmp_path / "alone"
    save_ensemble(network, alone, "compose")
    with pytest.raises(InputError, match=r"has one member, blue@1\.0\.0"):
        run(alone)
    assert own_files(folder) == before
    code, printed = call(tmp_path / "nothing", "data=four_colours")
    assert code == 2
    assert "is no ensemble's folder" in printed


def test_nobody_goes_where_all_are_needed(pair, run):
    found = run(pair)
    assert found.chosen == 0
    assert found.manifest is None
    assert [manifest.version for manifest in list_manifests(pair)] == [1, 2]
    record = json.loads((found.folder / "pruning.json").read_text())
    assert len(record["rows"]) == 3
