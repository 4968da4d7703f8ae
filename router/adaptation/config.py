"""The configuration of `adapt-trunk`: `configs/adapt.yaml` is its YAML form."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hydra.core.config_store import ConfigStore

from router.adaptation.modes import ModeConfig
from specialists.config import (
    HeadConfig,
    RunConfig,
    TrainerConfig,
    compose_checked,
    parse_overrides,
)
from specialists.data import DataConfig


@dataclass(kw_only=True)
class AdaptConfig(RunConfig):
    """One run of `adapt-trunk`.

    Args:
        data: What it learns from.
        trunk: What it starts from, see `router.find_trunk`.
        image_size: Edge in pixels that images are resized to for the trunk; by default they grow to
            whole patches.
        head: The head, as far as the data does not decide it.
        mode: What learns beside it.
    """

    data: DataConfig
    trunk: str
    image_size: int | None = None
    head: HeadConfig = field(default_factory=HeadConfig)
    mode: ModeConfig = field(default_factory=ModeConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)


ConfigStore.instance().store(name="adapt_schema", node=AdaptConfig)


def compose_adapt_config(
    overrides: Sequence[str] = (), config_dir: Path | None = None
) -> AdaptConfig:
    """Compose the configuration `adapt` with Hydra.

    Arguments as for `specialists.config.compose_config`.

    Raises:
        InputError: If a group, key or value is not what it may be.
    """
    config = compose_checked("adapt", AdaptConfig, overrides, config_dir)
    config.mode.check()
    return config


def parse_adapt_command_line(arguments: Sequence[str]) -> AdaptConfig | None:
    """The configuration a command line asks for, or None if it only wanted to see it."""
    return parse_overrides(
        arguments,
        compose_adapt_config,
        prog="adapt-trunk",
        description="Teach a trunk a task: its head alone (mode=linear), with a part of the trunk "
        "(mode=partial), or all of it (mode=full).",
        epilog="example: adapt-trunk data=eurosat_rgb trunk=runs/trunk mode=linear data.root=/data "
        "run_dir=runs/eurosat",
    )
