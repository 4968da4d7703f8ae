"""Ensembles in folders: the same after a round trip, refused by name if a part is not as pinned."""

import json
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from registry import Registry
from registry.prototype import Prototype
from router import save_trunk
from router.ensemble import Ensemble
from router.ensemble_files import load_task_ensemble, load_with_head, save_ensemble
from router.manifest import FILE, list_manifests, read_manifest
from router.registering import register_run, register_trunk
from router.task_ensemble import TaskEnsemble
from sensors import InputError
from specialists.model import build_specialist
from specialists.task_spec import TaskSpec
from tests.router.ensembles import ALL, make_images, make_members

TASK = TaskSpec(
    task="semantic-segmentation",
    bands=ALL,
    classes=("land", "water"),
    mean=(0.1, 0.3, 0.2, -10.0, -17.0),
    std=(0.1, 0.1, 0.1, 5.0, 5.0),
    gsd=10.0,
    chip_size=32,
    decoder="linear",
)


@pytest.fixture(scope="module")
def shelf(tmp_path_factory, make_trunk):
    """A registry with a trunk and four specialists."""
    registry = Registry.open(tmp_path_factory.mktemp("shelf"))
    register_trunk(registry, make_trunk(), name="small-trunk", version="1.0.0")
    for member in make_members():
        torch.manual_seed(sum(member.pin.name.encode()))
        specialist = build_specialist(member.network.spec)
        registry.add(specialist, name=member.pin.name, version="1.0.0")
    return registry


@pytest.fixture
def registry(shelf, tmp_path):
    """A copy that a test may damage."""
    shutil.copytree(shelf.store.root, tmp_path / "shelf")
    return Registry.open(tmp_path / "shelf")


def compose(registry, **settings) -> Ensemble:
    names = ["visible", "infrared@1.0.0", registry.card("all-optical"), "radar"]
    return Ensemble.compose(names, "small-trunk", registry=registry, **settings)


def blob_of(registry, reference) -> Path:
    path = (
        registry.store.root / "blobs" / "sha256" / f"{registry.card(reference).sha256}.safetensors"
    )
    path.chmod(0o644)
    return path


@pytest.mark.parametrize("gate", ["routed", "static", "uniform"])
@pytest.mark.parametrize("fusion", ["concat", "sum", "attention"])
def test_a_round_trip_gives_the_same_bits(shelf, tmp_path, gate, fusion):
    ensemble = compose(shelf, gate=gate, fusion=fusion).eval()
    for weight in (*ensemble.gate.parameters(), *ensemble.fusion.parameters()):
        torch.nn.init.normal_(weight.data, std=0.1)
    manifest = ensemble.save(tmp_path / "e", reasons=["to see"])
    again = Ensemble.load(tmp_path / "e", shelf)
    x = make_images(3)
    for level, same in zip(
        ensemble.forward_features(x, ALL), again.forward_features(x, ALL), strict=True
    ):
        assert torch.equal(level, same)
    assert manifest == read_manifest(tmp_path / "e")
    assert (manifest.version, manifest.action, manifest.reasons) == (1, "compose", ("to see",))
    assert [pin.sha256 for pin in manifest.members] == [
        shelf.card(member.reference).sha256 for member in again.members
    ]
    assert manifest.trunk.sha256 == shelf.card("small-trunk").sha256
    ensemble.save(tmp_path / "twin")
    twins = [tmp_path / name / "weights.safetensors" for name in ("e", "twin")]
    assert twins[0].read_bytes() == twins[1].read_bytes()


def test_an_ensemble_with_a_head_answers_the_same_after_a_round_trip(shelf, tmp_path):
    network = TaskEnsemble(compose(shelf), TASK).eval()
    save_ensemble(network, tmp_path / "e", "fit")
    again = load_task_ensemble(tmp_path / "e", shelf)
    x = make_images(2, 40, 33)
    assert torch.equal(network.predict(x), again.predict(x))
    assert again.predict(x).shape == (2, 2, 40, 33)
    assert Ensemble.load(tmp_path / "e", shelf).forward_features(x, ALL)


def test_a_registered_ensemble_is_opened_by_name_and_keeps_its_members(registry, tmp_path):
    network = TaskEnsemble(compose(registry), TASK).eval()
    save_ensemble(network, tmp_path / "e", "fit")
    register_run(registry, tmp_path / "e", name="the-guild", version="1.0.0")
    for name in ("visible", "small-trunk"):
        registry.remove(f"{name}@1.0.0")
    registry.store.sweep()
    again = load_task_ensemble("the-guild", registry)
    x = make_images(2)
    assert torch.equal(network.predict(x), again.predict(x))
    assert not registry.verify()


def test_manifests_are_kept_and_weights_that_did_not_change_are_not_copied(shelf, tmp_path):
    ensemble = compose(shelf)
    ensemble.save(tmp_path / "e")
    ensemble.save(tmp_path / "e", "reject", ["it adds nothing"])
    ensemble.remove("radar")
    ensemble.save(tmp_path / "e", "remove", ["not needed"])
    first, second, third = list_manifests(tmp_path / "e")
    assert [m.action for m in (first, second, third)] == ["compose", "reject", "remove"]
    assert [m.parent for m in (first, second, third)] == [None, 1, 2]
    assert second.weights_file == first.weights_file == "weights.safetensors"
    assert third.weights_file == "weights-0003.safetensors"
    assert len(Ensemble.load(tmp_path / "e", shelf).members) == 3
    assert len(Ensemble.load(tmp_path / "e" / "manifests" / "0001.json", shelf).members) == 4


def test_a_member_can_be_added_to_a_saved_ensemble(shelf, tmp_path):
    names = ["visible", "infrared", "all-optical"]
    ensemble = Ensemble.compose(names, "small-trunk", registry=shelf)
    x = make_images(2)
    optical = ensemble.forward_features(x[:, :3], ALL[:3])
    with pytest.warns(UserWarning, match="the trunk's own"):
        ensemble.forward_features(x[:, 3:], ALL[3:])
    ensemble.add("radar", shelf)
    assert ensemble.gate_weights(x[:, 3:], ALL[3:])["radar@1.0.0"].tolist() == [1, 1]
    for level, same in zip(optical, ensemble.forward_features(x[:, :3], ALL[:3]), strict=True):
        assert torch.equal(level, same)
    ensemble.save(tmp_path / "e")
    assert len(Ensemble.load(tmp_path / "e", shelf).members) == 4
    with pytest.raises(InputError, match=r"radar@1\.0\.0 is named twice"):
        ensemble.add("radar", shelf)


def test_a_missing_blob_is_named(registry, tmp_path):
    compose(registry).save(tmp_path / "e")
    blob_of(registry, "radar").unlink()
    with pytest.raises(InputError, match=r"member radar@1\.0\.0 .*no such file"):
        Ensemble.load(tmp_path / "e", registry)


def test_a_changed_member_is_named(registry, tmp_path):
    compose(registry).save(tmp_path / "e")
    blob = blob_of(registry, "visible")
    content = bytearray(blob.read_bytes())
    content[-1] ^= 1
    blob.write_bytes(content)
    with pytest.raises(InputError, match=r"member visible@1\.0\.0 .*changed or damaged"):
        Ensemble.load(tmp_path / "e", registry)


def test_changed_weights_are_refused(shelf, tmp_path):
    compose(shelf).save(tmp_path / "e")
    weights = tmp_path / "e" / "weights.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(InputError, match=r"weights.safetensors was changed"):
        Ensemble.load(tmp_path / "e", shelf)
    weights.unlink()
    with pytest.raises(InputError, match=r"weights.safetensors is missing"):
        Ensemble.load(tmp_path / "e", shelf)


def test_a_changed_trunk_is_named(registry, tmp_path):
    compose(registry).save(tmp_path / "e")
    blob_of(registry, "small-trunk").unlink()
    with pytest.raises(InputError, match=r"trunk small-trunk@1\.0\.0 .*no such file"):
        Ensemble.load(tmp_path / "e", registry)


def test_prototypes_of_another_trunk_are_refused_by_name(registry, make_trunk):
    card = registry.specialist("radar")
    other = Prototype("cd" * 32, (0.0,) * 32, (1.0,) * 32, 4)
    changed = replace(card, prototypes=(other,))
    path = registry.store.card_path(card.reference)
    path.chmod(0o644)
    path.write_text(json.dumps(changed.to_stac_item()))
    with pytest.raises(InputError, match=r"radar@1\.0\.0 has prototypes of other trunks.*cdcdcd"):
        compose(registry)


def test_bad_compositions_are_refused(shelf):
    with pytest.raises(InputError, match="at least one member"):
        Ensemble.compose([], "small-trunk", registry=shelf)
    with pytest.raises(InputError, match="top_k 3 is larger than the number of members, 2"):
        Ensemble.compose(["radar", "visible"], "small-trunk", 3, registry=shelf)
    with pytest.raises(InputError, match="has no nobody"):
        Ensemble.compose(["nobody"], "small-trunk", 1, registry=shelf)
    with pytest.raises(InputError, match=r"small-trunk@1\.0\.0 is a trunk"):
        Ensemble.compose(["small-trunk"], "small-trunk", 1, registry=shelf)
    with pytest.raises(InputError, match="gate 'best' is not one of routed"):
        compose(shelf, gate="best")


def test_an_ensemble_without_a_head_answers_no_task(shelf, tmp_path):
    compose(shelf).save(tmp_path / "e")
    with pytest.raises(InputError, match="has no head"):
        load_task_ensemble(tmp_path / "e", shelf)
    with pytest.raises(InputError, match=r"not the manifest of an ensemble|has no"):
        load_with_head(tmp_path / "nothing", shelf)


def test_a_kill_while_saving_leaves_the_earlier_manifest(shelf, tmp_path, make_trunk):
    """The process dies right before the manifest that counts is replaced."""
    ensemble = compose(shelf)
    ensemble.save(tmp_path / "e")
    before = (tmp_path / "e" / FILE).read_bytes()
    script = f"""
import os, signal
from registry import Registry
from registry.prototype import Prototype
from router.ensemble import Ensemble
import router.manifest as manifest
write = manifest.write_json
def die(path, content):
    if path.name == {FILE!r}:
        os.kill(os.getpid(), signal.SIGKILL)
    write(path, content)
manifest.write_json = die
ensemble = Ensemble.load({str(tmp_path / "e")!r}, Registry.open({str(shelf.store.root)!r}))
ensemble.remove("radar")
ensemble.save({str(tmp_path / "e")!r}, "remove")
"""
    done = subprocess.run([sys.executable, "-c", script], check=False)
    assert done.returncode == -signal.SIGKILL
    assert (tmp_path / "e" / FILE).read_bytes() == before
    assert len(Ensemble.load(tmp_path / "e", shelf).members) == 4
    ensemble.remove("radar")
    ensemble.save(tmp_path / "e", "remove")
    assert [m.version for m in list_manifests(tmp_path / "e")] == [1, 2]


def test_a_trunk_by_path_is_refused_with_what_to_do(shelf, tmp_path, make_trunk):
    save_trunk(make_trunk(), tmp_path / "trunk.safetensors")
    with pytest.raises(InputError, match="register"):
        Ensemble.compose(["radar"], str(tmp_path / "trunk.safetensors"), 1, registry=shelf)
