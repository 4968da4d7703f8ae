"""Run-config and node-config."""

import tomllib
from dataclasses import fields
from pathlib import Path

import pytest

from federation.settings import NodeSettings, Settings
from sensors.errors import InputError


def test_defaults_are_those_of_pyproject():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    stated = project["tool"]["flwr"]["app"]["config"]
    assert Settings.read(stated) == Settings()
    assert {key.replace("-", "_") for key in stated} == {entry.name for entry in fields(Settings)}


def test_reading_and_writing_are_inverse():
    settings = Settings(rounds=7, strategy="krum", data_root="/data", local_norms=True)
    assert Settings.read(settings.to_run_config()) == settings


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"roundss": 3}, "unknown key roundss; did you mean rounds"),
        ({"rounds": "three"}, "rounds='three' is not of type int"),
        ({"rounds": True}, "rounds=True is not of type int"),
        ({"rounds": 0}, "rounds=0 is not above 0"),
        ({"fraction": 1.5}, "fraction=1.5 is not in"),
        ({"strategy": "fedsgd"}, "strategy='fedsgd' is not one of fedavg"),
        ({"precision": "int4"}, "precision='int4' is not one of"),
        ({"data-root": "data"}, "data-root=data is not an absolute path"),
        ({"privacy": "local"}, "normalization=shared sends sums"),
        (
            {"privacy": "central-fixed", "normalization": "local", "strategy": "median"},
            "not with median",
        ),
        (
            {
                "privacy": "central-fixed",
                "normalization": "local",
                "clipping": "client",
                "precision": "int8",
            },
            "give clipping=server",
        ),
        ({"privacy": "local", "normalization": "local", "delta": 2.0}, "delta=2.0 is not in"),
    ],
)
def test_what_cannot_be_used_is_named(given, message):
    with pytest.raises(InputError, match=message):
        Settings.read(given)


def test_whole_numbers_serve_as_fractions():
    assert Settings.read({"round-timeout": 30}).round_timeout == 30.0


def test_flower_s_own_keys_of_a_node_are_left_alone():
    found = NodeSettings.read({"partition-id": 0, "num-partitions": 3, "data-root": "/data"})
    assert found == NodeSettings(data_root="/data")
    with pytest.raises(InputError, match="unknown key dataroot; did you mean data-root"):
        NodeSettings.read({"dataroot": "/data"})
    with pytest.raises(InputError, match="publish='all' is not one of"):
        NodeSettings.read({"publish": "all"})


def test_sensors_go_round():
    settings = Settings(sensors="sentinel-2-l2a:B04+B03+B02, landsat-8-c2-l2")
    assert [settings.sensor_of(n) for n in range(3)] == [
        ("sentinel-2-l2a", ("B04", "B03", "B02")),
        ("landsat-8-c2-l2", ()),
        ("sentinel-2-l2a", ("B04", "B03", "B02")),
    ]
    assert Settings().sensor_of(0) is None
