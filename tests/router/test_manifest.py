"""Manifests: plain JSON that says everything, and refuses what it cannot mean."""

import json

import pytest

from router.ensemble_spec import EnsembleSpec
from router.manifest import FILE, Manifest, Pin, list_manifests, read_manifest, write_manifest
from sensors import InputError


def make(**changes) -> Manifest:
    fields = {
        "members": (Pin("radar", "1.0.0", "ab" * 32), Pin("visible", "1.2.0", "cd" * 32)),
        "trunk": Pin("dofa-nano", "1.0.0", "ef" * 32),
        "weights_file": "weights.safetensors",
        "weights_sha256": "01" * 32,
        "spec": EnsembleSpec(),
    }
    return Manifest(**(fields | changes))


def test_a_manifest_comes_back_as_it_was_written(tmp_path):
    manifest = make(reasons=("because",), action="fit")
    write_manifest(tmp_path, manifest)
    assert read_manifest(tmp_path) == manifest
    assert read_manifest(tmp_path / FILE) == manifest
    assert list_manifests(tmp_path) == (manifest,)


def test_versions_follow_one_another(tmp_path):
    first = make()
    with pytest.raises(InputError, match="at manifest 0, so the next one is 1, not 2"):
        write_manifest(tmp_path, first.following("add", ()))
    write_manifest(tmp_path, first)
    second = first.following("add", ("it helps",), members=first.members[:1])
    write_manifest(tmp_path, second)
    assert (second.version, second.parent) == (2, 1)
    assert list_manifests(tmp_path) == (first, second)
    with pytest.raises(InputError, match="at manifest 2, so the next one is 3, not 2"):
        write_manifest(tmp_path, second)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"members": ()}, "at least one member"),
        ({"action": "guess"}, "action 'guess' is not one of"),
        ({"weights_file": "../elsewhere"}, "is not a file name"),
        ({"weights_sha256": "xyz"}, "is not a SHA-256"),
        ({"version": 0}, "not 1 or more"),
        ({"version": 2, "parent": 2}, "no earlier one"),
    ],
)
def test_impossible_values_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        make(**change)


@pytest.mark.parametrize(
    "damage",
    [
        lambda record: record.pop("members"),
        lambda record: record.update(members=[{"name": "radar"}]),
        lambda record: record.update(more=1),
        lambda record: record.update(format=2),
        lambda record: record["spec"].update(gate="best"),
        lambda record: record["spec"].pop("top_k"),
        lambda record: record["members"][0].update(sha256="../x"),
        lambda record: record.update(trunk="dofa-nano"),
        lambda record: record.update(weights=None),
    ],
)
def test_a_damaged_file_is_refused_by_name(tmp_path, damage):
    write_manifest(tmp_path, make())
    record = json.loads((tmp_path / FILE).read_text())
    damage(record)
    (tmp_path / FILE).write_text(json.dumps(record))
    with pytest.raises(InputError, match=FILE):
        read_manifest(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"top_k": 0}, "top_k is 0"),
        ({"temperature": 0}, "temperature is 0"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"channels": (1, 2)}, "reductions"),
        ({"reductions": (8, 4, 16, 32)}, "rising"),
        ({"fusion": "mean"}, "fusion 'mean' is not one of concat"),
        ({"trunk_image_size": 0}, "trunk_image_size is 0"),
    ],
)
def test_an_impossible_spec_is_refused(change, message):
    with pytest.raises(InputError, match=message):
        EnsembleSpec(**change)
