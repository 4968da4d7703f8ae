import pytest
import yaml

from router.adaptation.config import compose_adapt_config, parse_adapt_command_line
from router.adaptation.modes import ModeConfig
from sensors import InputError

OVERRIDES = ["data=eurosat_rgb", "trunk=dofa-nano", "data.root=/data"]


def test_the_mode_decides_what_learns_and_how_fast():
    modes = {
        name: compose_adapt_config([*OVERRIDES, f"mode={name}"])
        for name in ("linear", "partial", "full")
    }
    assert modes["linear"] == compose_adapt_config(OVERRIDES)
    assert modes["linear"].mode == ModeConfig()
    assert modes["partial"].mode == ModeConfig("partial", patch_embed=True)
    assert modes["full"].mode.kind == "full"
    assert {config.head.head for config in modes.values()} == {"pool"}
    assert modes["linear"].head.decoder == "linear"
    assert len({config.trainer.lr for config in modes.values()}) > 1
    assert len({config.run_dir for config in modes.values()}) == 3


def test_single_settings_win_over_the_mode():
    config = compose_adapt_config(
        [
            *OVERRIDES,
            "mode=partial",
            "mode.patch_embed=false",
            "mode.last_blocks=2",
            "trainer.lr=1e-4",
            "head.decoder=fpn",
        ]
    )
    assert config.mode == ModeConfig("partial", last_blocks=2)
    assert (config.trainer.lr, config.head.decoder) == (1e-4, "fpn")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data=eurosat_rgb"], "trunk"),
        (["trunk=dofa-nano"], "data"),
        ([*OVERRIDES, "mode=half"], "mode/half"),
        ([*OVERRIDES, "mode.patch_embed=true"], "mode linear"),
        ([*OVERRIDES, "head.tail=1"], "tail"),
    ],
)
def test_what_cannot_be_composed_is_named(overrides, message):
    with pytest.raises(InputError, match=message):
        compose_adapt_config(overrides)


def test_the_configuration_can_be_looked_at(capsys):
    assert parse_adapt_command_line([*OVERRIDES, "--cfg", "job"]) is None
    shown = yaml.safe_load(capsys.readouterr().out)
    assert shown["mode"]["kind"] == "linear"
    assert shown["trunk"] == "dofa-nano"
