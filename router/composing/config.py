"""The configuration of `compose-ensemble`: `configs/compose.yaml` is its YAML form."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore

from router.ensemble_spec import TRUNK_GATES, EnsembleSpec
from sensors.errors import InputError
from specialists.config import (
    HeadConfig,
    RunConfig,
    TrainerConfig,
    compose_checked,
    parse_overrides,
)
from specialists.data_config import DataConfig


@dataclass
class EnsembleConfig:
    """What the ensemble is like; names are those of `EnsembleSpec`.

    Without `gate`, it is `routed` where there is a trunk, and `sensor` where there is none. Without
    `channels` and `reductions`, they follow from the members.
    """

    gate: str | None = None
    top_k: int = 2
    temperature: float = 1.0
    key_size: int = 64
    fusion: str = "concat"
    channels: list[int] | None = None
    reductions: list[int] | None = None
    trunk_features: bool = False
    trunk_image_size: int | None = 64

    def settings(self, *, has_trunk: bool) -> dict[str, Any]:
        """Arguments of `Ensemble.compose`: what is given, and what follows from the trunk.

        Raises:
            InputError: If a value is not one of the choices or out of range.
        """
        settings = {name: value for name, value in vars(self).items() if value is not None}
        settings["trunk_image_size"] = self.trunk_image_size
        settings["gate"] = self.gate or (TRUNK_GATES[0] if has_trunk else "sensor")
        EnsembleSpec(**settings)
        return settings


@dataclass
class ComposeTrainerConfig(TrainerConfig):
    """The recipe of an ensemble.

    Args:
        noise: Standard deviation of the noise on the gate's scores in the first epoch, so that the
            second best are tried, too; it falls to 0 in the first half of the epochs.
        gate_lr: Learning rate of a gate that looks at the image, in shares of `lr`.
        load_balance: Weight of the loss that keeps members in use, see
            `router.composing.terms.load_balance`.
        entropy: Weight of the mean entropy of the gate's probabilities: above 0, they get sharper.
        information: Weight of what the image tells the gate: above 0, images are sent different
            ways only as far as that lowers the loss of the task.
        sensor_dropout: Probability that an image loses all bands of one kind of sensor, see
            `router.composing.sensor_dropout`.
    """

    noise: float = 0.5
    gate_lr: float = 0.1
    load_balance: float = 0.01
    entropy: float = 0.0
    information: float = 0.0
    sensor_dropout: float = 0.0

    def check(self) -> None:
        """Refuse what is out of range.

        Raises:
            InputError: Says what is.
        """
        super().check()
        for name in ("noise", "gate_lr", "load_balance", "information"):
            value = getattr(self, name)
            if not 0 <= value < math.inf:
                raise InputError(f"trainer.{name} {value} is not 0 or more")
        if not math.isfinite(self.entropy):
            raise InputError(f"trainer.entropy {self.entropy} is not a finite number")
        if not 0 <= self.sensor_dropout <= 1:
            raise InputError(f"trainer.sensor_dropout {self.sensor_dropout} is not between 0 and 1")


def _default_head() -> HeadConfig:
    """Heads that look at nothing but features, and so do not miss a band."""
    return HeadConfig(head="pool", decoder="linear")


@dataclass(kw_only=True)
class ComposeConfig(RunConfig):
    """One run of `compose-ensemble`.

    Args:
        data: What it learns from.
        members: Registered specialists, `name` or `name@version`.
        trunk: A registered trunk, for gates that look at the image.
        registry: Folder of the registry; the default one if not given.
        ensemble: Gate and fusion.
        start: Folder or registered name of an ensemble to go on from, in place of the three
            above.
        head: The head, as far as the data does not decide it.
        trainer: How it learns.
    """

    data: DataConfig
    members: list[str] = field(default_factory=list)
    trunk: str | None = None
    registry: str | None = None
    ensemble: EnsembleConfig = field(default_factory=EnsembleConfig)
    start: str | None = None
    head: HeadConfig = field(default_factory=_default_head)
    trainer: ComposeTrainerConfig = field(default_factory=ComposeTrainerConfig)

    def check(self) -> None:
        """Refuse an ensemble that is described twice or not at all, and numbers out of range.

        Raises:
            InputError: Says what to change.
        """
        self.trainer.check()
        if self.start is None:
            if not self.members:
                raise InputError(
                    "no members: name registered specialists, such as "
                    "'members=[s2-landcover,s1-flood@1.0.0]', or an ensemble to go on from "
                    "with start"
                )
            self.ensemble.settings(has_trunk=self.trunk is not None)
            return
        given = {
            "members": bool(self.members),
            "trunk": self.trunk is not None,
            "ensemble": self.ensemble != EnsembleConfig(),
        }
        named = [name for name, is_given in given.items() if is_given]
        if named:
            raise InputError(
                f"start={self.start} is an ensemble with members, trunk and gate of its own; leave "
                f"out {', '.join(named)}, or leave out start to compose anew"
            )


ConfigStore.instance().store(name="compose_schema", node=ComposeConfig)


def compose_ensemble_config(
    overrides: Sequence[str] = (), config_dir: Path | None = None
) -> ComposeConfig:
    """Compose the configuration `compose` with Hydra.

    Arguments as for `specialists.config.compose_config`.

    Raises:
        InputError: If a group, key or value is not what it may be.
    """
    config = compose_checked("compose", ComposeConfig, overrides, config_dir)
    config.check()
    return config


def parse_compose_command_line(arguments: Sequence[str]) -> ComposeConfig | None:
    """The configuration a command line asks for, or None if it only wanted to see it."""
    return parse_overrides(
        arguments,
        compose_ensemble_config,
        prog="compose-ensemble",
        description="Compose registered specialists, and teach the ensemble a task: gate, fusion "
        "and head learn, members and trunk stay as they are.",
        epilog="example: compose-ensemble data=eurosat_ms 'members=[s2-landcover,l7-landcover]' "
        "trunk=dofa-nano ensemble.top_k=2 run_dir=runs/ensemble",
    )
