import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from registry import Registry
from registry.cli import register_main, registry_main
from sensors.sensor import load_sensor


@pytest.fixture
def root(tmp_path):
    return tmp_path / "registry"


@pytest.fixture
def command(monkeypatch, root):
    """Runs a command in this process; returns its exit code."""
    monkeypatch.setenv("COLUMNS", "200")

    def run(main, *arguments):
        monkeypatch.setattr(sys, "argv", ["command", *map(str, arguments), "--registry", str(root)])
        try:
            main()
        except SystemExit as stopped:
            return stopped.code
        return 0

    return run


@pytest.fixture
def fill(root, new_card, new_spec, write_weights):
    def add_one(name, version="1.0.0", **changes):
        spec = new_spec(**changes)
        path, sha256 = write_weights(spec)
        size = path.stat().st_size
        card = new_card(spec, name=name, version=version, sha256=sha256, size=size)
        Registry.open(root).store.add(card.reference, card.to_stac_item(), {sha256: path})
        return card

    return add_one


def test_list(command, fill, capsys):
    assert command(registry_main, "list") == 0
    assert "none in" in capsys.readouterr().out
    fill("s2-landcover")
    fill("s2-landcover", "1.1.0")

    assert command(registry_main, "list") == 0
    shown = capsys.readouterr().out
    for part in ("s2-landcover@1.0.0", "s2-landcover@1.1.0", "B02, B04, B11", "3.39 M", "Apache"):
        assert part in shown


def test_list_for_machines(command, fill, capsys, validate_item):
    card = fill("s2-landcover")

    assert command(registry_main, "list", "--json") == 0
    collection = json.loads(capsys.readouterr().out)
    assert collection["features"] == [card.to_stac_item()]
    validate_item(collection["features"][0])


def test_show(command, fill, capsys):
    card = fill("s2-landcover", classes=("[bold]not markup[/bold]", "Forest"))

    assert command(registry_main, "show", "s2-landcover") == 0
    shown = capsys.readouterr().out
    assert card.sha256 in shown
    for part in (
        "[bold]not markup[/bold], Forest",
        "B04 (0.6646 um",
        "EuroSAT (100 train, 20 selection, 30 test); licence MIT",
        "test: accuracy 0.880, macro_f1 0.870",
        "floor linear_statistics: accuracy 0.700",
    ):
        assert part in shown
    assert command(registry_main, "show", "s2-landcover@1.0.0", "--json") == 0
    assert json.loads(capsys.readouterr().out) == card.to_stac_item()


def test_show_of_a_card_that_says_little(command, root, new_card, write_weights, capsys):
    path, sha256 = write_weights()
    item = new_card(sha256=sha256, training={"data": {"counts": 3}}, metrics={"test": "good"})
    Registry.open(root).store.add(item.reference, item.to_stac_item(), {sha256: path})

    assert command(registry_main, "show", "s2-landcover") == 0
    assert "not stated (no counts); licence not stated" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], {"s2-classes", "vv-flood"}),
        (["--task", "semantic-segmentation"], {"vv-flood"}),
        (["--gsd", "30"], {"s2-classes"}),
        (["--sensor", "sentinel-1-grd"], {"vv-flood"}),
        (["flood"], {"vv-flood"}),
        (["flood", "classes"], set()),
    ],
)
def test_search(arguments, expected, command, fill, capsys):
    fill("s2-classes", gsd=20.0)
    vv = load_sensor("sentinel-1-grd").select("VV")
    fill("vv-flood", bands=vv, task="semantic-segmentation")

    assert command(registry_main, "search", *arguments, "--json") == 0
    found = json.loads(capsys.readouterr().out)["features"]
    assert {item["properties"]["mlm:name"] for item in found} == expected


def test_verify(command, fill, root, capsys):
    fill("s2-landcover")
    (root / "incoming" / "half").write_bytes(b"")
    assert command(registry_main, "verify", "--sweep") == 0
    shown = capsys.readouterr().out
    assert "1 checked" in shown
    assert f"deleted {root / 'incoming' / 'half'}" in shown

    path = next((root / "blobs" / "sha256").iterdir())
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1])
    assert command(registry_main, "verify", "--json") == 2
    captured = capsys.readouterr()
    assert str(path) in json.loads(captured.out)["problems"]["s2-landcover@1.0.0"]
    assert "1 of 1 are not sound" in captured.err


def test_remove_asks_first(command, fill, root, capsys):
    fill("s2-landcover")

    assert command(registry_main, "remove", "s2-landcover@1.0.0") == 2
    assert "add --yes" in capsys.readouterr().err
    assert Registry.open(root).list()
    assert command(registry_main, "remove", "s2-landcover", "--yes") == 2
    assert command(registry_main, "remove", "s2-landcover@1.0.0", "--yes", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"removed": "s2-landcover@1.0.0"}
    assert not Registry.open(root).list()


@pytest.mark.parametrize(
    ("main", "arguments", "message"),
    [
        (registry_main, ["show", "s2-landcover"], "has no s2-landcover"),
        (registry_main, ["show", "../../etc/passwd"], "not a model name"),
        (registry_main, ["show", "s2-landcover@latest"], "not a version"),
        (registry_main, ["search", "--sensor", "no-such-sensor"], "no-such-sensor"),
        (registry_main, ["paint"], "invalid choice"),
        (register_main, ["no-such-run", "--name", "abc", "--version", "1.0.0"], "no-such-run"),
        (register_main, ["run", "--name", "abc"], "--version"),
    ],
)
def test_bad_input_exits_with_2_and_leaves_nothing(main, arguments, message, command, root, capsys):
    assert command(main, *arguments) == 2
    assert message in capsys.readouterr().err
    assert not root.exists()


def test_register(command, root, run_dir, capsys, caplog):
    facts = ("--name", "s2-landcover", "--version", "1.0.0", "--description", "From a test.")

    assert command(register_main, run_dir, *facts) == 0
    shown = capsys.readouterr().out
    assert "From a test." in shown
    assert f"s2-landcover@1.0.0 is registered in {root}" in shown
    assert len(caplog.messages) == 1
    assert "s2-landcover@1.0.0: the licence of its weights is not stated" in caplog.text
    assert Registry.open(root).card("s2-landcover").license == "other"

    assert command(register_main, run_dir, *facts, "--license", "MIT") == 2
    assert "already" in capsys.readouterr().err
    assert Registry.open(root).card("s2-landcover").license == "other"


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
