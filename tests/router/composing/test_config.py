import pytest
import yaml

from router.composing.config import (
    ComposeConfig,
    ComposeTrainerConfig,
    EnsembleConfig,
    compose_ensemble_config,
    parse_compose_command_line,
)
from sensors import InputError

OVERRIDES = ["data=eurosat_rgb", "members=[a,b-c@1.0.0]", "data.root=/data"]


def test_a_command_line_is_understood():
    config = compose_ensemble_config(
        [*OVERRIDES, "trunk=dofa-nano", "ensemble.top_k=1", "trainer.sensor_dropout=0.2"]
    )
    assert config.members == ["a", "b-c@1.0.0"]
    assert config.trunk == "dofa-nano"
    assert config.ensemble == EnsembleConfig(top_k=1)
    assert config.trainer.sensor_dropout == 0.2
    assert config.run_dir == "runs/eurosat_rgb_ensemble"


def test_defaults_are_the_same_in_yaml_and_python():
    config = compose_ensemble_config(OVERRIDES)
    built = ComposeConfig(name=config.name, run_dir=config.run_dir, data=config.data)
    assert config.ensemble == built.ensemble
    assert config.head == built.head
    assert (config.head.head, config.head.decoder) == ("pool", "linear")
    for name in ("noise", "load_balance", "entropy", "information", "sensor_dropout"):
        assert getattr(config.trainer, name) == getattr(ComposeTrainerConfig(), name)


def test_the_gate_follows_from_the_trunk():
    config = EnsembleConfig()
    assert config.settings(has_trunk=True)["gate"] == "routed"
    assert config.settings(has_trunk=False)["gate"] == "sensor"
    assert EnsembleConfig(gate="static").settings(has_trunk=True)["gate"] == "static"
    assert "channels" not in config.settings(has_trunk=True)
    given = EnsembleConfig(channels=[8, 16], reductions=[4, 8], trunk_image_size=None)
    settings = given.settings(has_trunk=True)
    assert (settings["channels"], settings["trunk_image_size"]) == ([8, 16], None)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data=eurosat_rgb"], "no members"),
        (["members=[a]"], "data"),
        ([*OVERRIDES, "start=runs/a"], "leave out members"),
        (["data=eurosat_rgb", "start=runs/a", "trunk=b"], "leave out trunk"),
        (["data=eurosat_rgb", "start=runs/a", "ensemble.gate=soft"], "leave out ensemble"),
        ([*OVERRIDES, "ensemble.gate=best"], "gate 'best'"),
        ([*OVERRIDES, "ensemble.fusion=mean"], "fusion 'mean'"),
        ([*OVERRIDES, "ensemble.top_k=0"], "top_k"),
        ([*OVERRIDES, "ensemble.members=2"], "members"),
        ([*OVERRIDES, "trainer.load_balance=-1"], "load_balance -1"),
        ([*OVERRIDES, "trainer.entropy=nan"], "entropy nan"),
        ([*OVERRIDES, "trainer.schedule=flat"], "flat"),
    ],
)
def test_what_cannot_be_composed_is_named(overrides, message):
    with pytest.raises(InputError, match=message):
        compose_ensemble_config(overrides)


def test_the_configuration_can_be_looked_at(capsys):
    assert parse_compose_command_line([*OVERRIDES, "--cfg", "job"]) is None
    shown = yaml.safe_load(capsys.readouterr().out)
    assert shown["ensemble"]["top_k"] == 2
    assert shown["start"] is None
