"""The configuration of `slim-specialist`: `configs/slim.yaml` is its YAML form."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hydra.core.config_store import ConfigStore

from sensors.errors import InputError
from specialists.config import RunConfig, TrainerConfig, compose_checked
from specialists.data_config import DataConfig
from specialists.slimming_choices import check_slimming

RECOVERIES = ("distil", "labels", "none")


@dataclass(kw_only=True)
class SlimConfig(RunConfig):
    """One run of `slim-specialist`.

    Without a name, it is that of the source and the ratio, such as `s2-landcover-slim50`; without a
    folder, it is `runs/` and that name.

    Args:
        source: The registered specialist, `name` or `name@version`.
        data: What is looked at to slim, to recover and to score; of the specialist's own bands.
        ratio, scope, importance: As for `specialists.slimming.slim`.
        images: Training chips that are looked at to slim, at most.
        recover: `distil` from the whole specialist on chips whose labels are not read, fine-tune
            with `labels`, or `none`.
        version: MAJOR.MINOR.PATCH of the result; `name` is what it is registered as.
        license: Of its weights, an SPDX identifier; by default that of the source.
        registry: Folder of the registry; the default one if not given.
        trainer: How it recovers.
    """

    data: DataConfig
    source: str = ""
    ratio: float = 0.5
    scope: str = "hidden"
    importance: str = "magnitude"
    images: int = 256
    recover: str = "distil"
    version: str = "1.0.0"
    license: str | None = None
    registry: str | None = None
    trainer: TrainerConfig = field(default_factory=TrainerConfig)

    def check(self) -> None:
        """Refuse what cannot be done.

        Raises:
            InputError: Says what is wrong.
        """
        check_slimming(self.ratio, self.scope, self.importance)
        if self.recover not in RECOVERIES:
            raise InputError(f"recover={self.recover} is not one of {', '.join(RECOVERIES)}")
        if self.images < 1:
            raise InputError(f"images={self.images}: at least one chip has to be looked at")
        self.trainer.check()


ConfigStore.instance().store(name="slim_schema", node=SlimConfig)


def compose_slim_config(
    source: str, overrides: Sequence[str] = (), config_dir: Path | None = None
) -> SlimConfig:
    """Compose the configuration `slim` with Hydra.

    Args:
        source: The registered specialist.
        overrides: In Hydra's grammar, such as `ratio=0.5`.
        config_dir: A folder of one's own groups, searched beside `configs`.

    Raises:
        InputError: If a group, key or value is not what it may be.
    """
    config = compose_checked("slim", SlimConfig, overrides, config_dir)
    config.source = source
    config.check()
    return config
