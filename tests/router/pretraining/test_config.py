"""The configuration of pretrain-trunk: what a person writes, and what is refused."""

import pytest

from router.pretraining.config import (
    PretrainTrunkConfig,
    compose_trunk_config,
    parse_trunk_command_line,
)
from sensors import InputError


def test_sources_are_names_or_names_with_changes():
    config = compose_trunk_config(
        ["sources=[eurosat_ms,{base: sen1floods11, weight: 2, tile: 64}]", "root=/data"]
    )
    assert isinstance(config, PretrainTrunkConfig)
    first, second = config.sources
    assert (first.data.name, first.weight) == ("eurosat_ms", 1.0)
    assert first.data.train.folder == "/data/eurosat_ms/train"
    assert (second.data.name, second.weight, second.data.tile) == ("sen1floods11", 2.0, 64)
    assert (config.trunk, config.trainer.masking.ratio) == ("dofa-nano", 0.75)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([], "sources"),
        (["sources=[]"], "none to learn from"),
        (["sources=[nowhere]"], "nowhere"),
        (["sources=[{weight: 2}]"], "expected a name from configs/data"),
        (["sources=[eurosat_ms,eurosat_ms]"], "eurosat_ms is there more than once"),
        (["sources=[{base: eurosat_ms, weight: 0}]"], "none to learn from"),
        (["sources=[{base: eurosat_ms, weight: -1}]"], "weight -1"),
        (["sources=[{base: eurosat_ms, weight: much}]"], "weight 'much'"),
        (["sources=[{base: eurosat_ms, weigth: 2}]"], "weigth"),
        (["sources=[{base: eurosat_ms, name: a/b}]"], "a/b"),
        (["sources=[eurosat_ms]", "image_size=0"], "image_size 0"),
        (["sources=[eurosat_ms]", "steps=0"], "steps 0"),
        (["sources=[eurosat_ms]", "trainer.masking.ratio=1"], "masking.ratio 1"),
        (["sources=[eurosat_ms]", "trainer.augment.flip=true"], "augment"),
    ],
)
def test_what_is_refused(overrides, message):
    with pytest.raises(InputError, match=message):
        compose_trunk_config(overrides)


def test_the_same_data_set_twice_needs_names():
    entries = "sources=[eurosat_ms,{base: eurosat_ms, name: small, chip_size: 32}]"
    names = [source.data.name for source in compose_trunk_config([entries]).sources]
    assert names == ["eurosat_ms", "small"]


def test_the_resolved_configuration_is_shown(capsys):
    assert parse_trunk_command_line(["sources=[eurosat_ms]", "--cfg", "job"]) is None
    shown = capsys.readouterr().out
    assert "name: eurosat_ms" in shown
    assert "decoder:" in shown
