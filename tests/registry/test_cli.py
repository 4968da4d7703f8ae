import json
import re
import sys

import pytest

from registry import Prototype, Registry
from registry.cli import registry_main
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
    for part in ("s2-landcover@1.0.0", "s2-landcover@1.1.0", "B02, B04, B11", "Apache"):
        assert part in shown


def test_list_for_machines(command, fill, capsys, validate_item):
    card = fill("s2-landcover")

    assert command(registry_main, "list", "--json") == 0
    collection = json.loads(capsys.readouterr().out)
    assert collection["features"] == [card.to_stac_item()]
    validate_item(collection["features"][0])


def test_kinds(command, fill, root, add_model, capsys):
    fill("s2-landcover")
    trunk = add_model(Registry.open(root), "trunk", name="eye")
    add_model(Registry.open(root), "scenes", pinned={"trunk": trunk.sha256})

    assert command(registry_main, "list") == 0
    lines = capsys.readouterr().out.splitlines()[1:]
    scenes = "scene-classification"
    assert [re.split(r"\s{2,}", line.strip()) for line in lines] == [
        ["eye@1.0.0", "trunk", "any", "any", "9 M", "Apache-2.0"],
        ["guild@1.0.0", f"ensemble for {scenes}", "5: B02-VH", "10", "9 M", "Apache-2.0"],
        ["s2-landcover@1.0.0", scenes, "B02, B04, B11", "10", "5 M", "Apache-2.0"],
    ]

    for arguments, expected in (
        (["list", "--kind", "trunk"], {"eye"}),
        (["search"], {"s2-landcover"}),
        (["search", "--kind", "any", "--task", "scene-classification"], {"guild", "s2-landcover"}),
        (["search", "--kind", "ensemble", "--gsd", "100"], set()),
    ):
        assert command(registry_main, *arguments, "--json") == 0
        found = json.loads(capsys.readouterr().out)["features"]
        assert {item["properties"]["mlm:name"] for item in found} == expected

    assert command(registry_main, "show", "guild") == 0
    shown = capsys.readouterr().out
    assert "Annual Crop, Sea & Lake" in shown
    assert f"trunk, sha256 {trunk.sha256}" in shown
    assert command(registry_main, "verify") == 0
    assert "3 checked" in capsys.readouterr().out
    assert command(registry_main, "remove", "guild@1.0.0", "--yes") == 0
    assert len(Registry.open(root).list()) == 2


def test_show_of_prototypes(command, root, new_card, write_weights, capsys):
    path, sha256 = write_weights()
    prototype = Prototype("ab" * 32, (0.0, 1.0), (1.0, 1.0), 77)
    card = new_card(sha256=sha256, prototypes=(prototype,))
    Registry.open(root).store.add(card.reference, card.to_stac_item(), {sha256: path})

    assert command(registry_main, "show", "s2-landcover") == 0
    assert f"of 77 chips, for the trunk with sha256 {'ab' * 32}" in capsys.readouterr().out


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
        (registry_main, ["list", "--kind", "tree"], "invalid choice"),
    ],
)
def test_bad_input_exits_with_2_and_leaves_nothing(main, arguments, message, command, root, capsys):
    assert command(main, *arguments) == 2
    assert message in capsys.readouterr().err
    assert not root.exists()
