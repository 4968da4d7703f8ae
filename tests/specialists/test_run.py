"""The run folder: what it recognises, what it refuses, and that files appear whole."""

import json

import pytest
import yaml

from sensors import InputError
from specialists.run import RunFolder, describe_machine, package_versions

CONFIG = {"name": "toy", "seed": 0, "run_dir": "a", "overwrite": False, "trainer": {"epochs": 3}}


def test_a_new_folder_holds_the_configuration(tmp_path):
    run = RunFolder.open(tmp_path / "runs" / "toy", CONFIG)
    assert run.status == "new"
    assert yaml.safe_load((run.path / "config.yaml").read_text()) == CONFIG


def test_the_same_configuration_goes_on_and_ends(tmp_path):
    run = RunFolder.open(tmp_path / "toy", CONFIG)
    run.checkpoints.mkdir()
    run.last_checkpoint.touch()
    assert RunFolder.open(tmp_path / "toy", CONFIG).status == "interrupted"
    run.write_json("metrics.json", {})
    assert RunFolder.open(tmp_path / "toy", CONFIG).status == "finished"


def test_another_configuration_is_refused_and_what_differs_is_named(tmp_path):
    RunFolder.open(tmp_path / "toy", CONFIG)
    changed = CONFIG | {"trainer": {"epochs": 4}}
    with pytest.raises(InputError, match=r"trainer\.epochs \(was 3, is 4\)"):
        RunFolder.open(tmp_path / "toy", changed)


def test_a_folder_may_be_moved_between_start_and_resumption(tmp_path):
    RunFolder.open(tmp_path / "toy", CONFIG)
    (tmp_path / "toy").rename(tmp_path / "moved")
    assert RunFolder.open(tmp_path / "moved", CONFIG | {"run_dir": "b"}).status == "new"


def test_overwrite_removes_the_run_and_nothing_else(tmp_path):
    run = RunFolder.open(tmp_path / "toy", CONFIG)
    run.checkpoints.mkdir()
    run.last_checkpoint.touch()
    run.write_json("metrics.json", {})
    (run.path / "notes.txt").write_text("mine")
    changed = CONFIG | {"seed": 1}
    assert RunFolder.open(run.path, changed, overwrite=True).status == "new"
    assert sorted(path.name for path in run.path.iterdir()) == ["config.yaml", "notes.txt"]


def test_discarding_spares_what_was_learned_and_what_is_not_ours(tmp_path):
    run = RunFolder.open(tmp_path / "toy", CONFIG)
    run.discard()
    assert not run.path.exists()
    run = RunFolder.open(tmp_path / "toy", CONFIG)
    (run.path / "notes.txt").touch()
    run.discard()
    assert [path.name for path in run.path.iterdir()] == ["notes.txt"]
    (run.path / "notes.txt").unlink()
    run = RunFolder.open(tmp_path / "toy", CONFIG)
    run.checkpoints.mkdir()
    run.last_checkpoint.touch()
    run.discard()
    assert run.status == "interrupted"


def test_folder_of_other_things_is_refused_and_left_alone(tmp_path):
    (tmp_path / "photo.jpg").touch()
    for overwrite in (False, True):
        with pytest.raises(InputError, match="not empty"):
            RunFolder.open(tmp_path, CONFIG, overwrite=overwrite)
    assert [path.name for path in tmp_path.iterdir()] == ["photo.jpg"]


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="is a file"):
        RunFolder.open(tmp_path / "file", CONFIG)


def test_json_is_strict(tmp_path):
    run = RunFolder.open(tmp_path / "toy", CONFIG)
    run.write_json("metrics.json", {"test": {"r2": float("nan"), "f1": {"a": float("inf")}}})
    text = (run.path / "metrics.json").read_text()
    assert json.loads(text) == {"test": {"r2": None, "f1": {"a": None}}}
    assert run.read_json("metrics.json") == json.loads(text)


def test_machine_and_versions_are_named():
    assert describe_machine()["cpu"]
    assert {"torch", "timm", "python"} <= package_versions().keys()
