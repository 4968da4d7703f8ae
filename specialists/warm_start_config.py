"""The configuration of `pretrain-backbone`: `configs/pretrain_backbone.yaml` is its YAML form."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hydra.core.config_store import ConfigStore

from sensors import InputError
from specialists.config import SpecialistRunConfig, compose_checked, parse_overrides
from specialists.recipe import LoopConfig, SpecialistLearningConfig

LEVELS = ("all", "coarsest")


@dataclass
class MaskingConfig:
    """What is hidden, and what reconstructs it.

    Args:
        ratio: Share of an image's patches that is hidden.
        patch: Edge of a patch in pixels: the finest reduction of the backbone times a power of two,
            at most the coarsest. None: the largest that leaves four patches on an edge.
        decoder_width: Channels of the decoder.
        levels: Levels of the backbone that the decoder reads: `all`, or `coarsest` as published.
    """

    ratio: float = 0.6
    patch: int | None = None
    decoder_width: int = 512
    levels: str = "all"

    def check(self) -> None:
        """Refuse values that leave nothing to hide, to see or to decode with.

        Raises:
            InputError: See above.
        """
        if not 0 < self.ratio < 1:
            raise InputError(f"trainer.masking.ratio {self.ratio} is not between 0 and 1")
        if self.levels not in LEVELS:
            raise InputError(
                f"trainer.masking.levels {self.levels!r} is not one of {', '.join(LEVELS)}"
            )
        if self.decoder_width < 1:
            raise InputError(f"trainer.masking.decoder_width {self.decoder_width} is not a width")


@dataclass
class PretrainTrainerConfig(SpecialistLearningConfig, LoopConfig):
    """The recipe of a warm start, and where it runs."""

    masking: MaskingConfig = field(default_factory=MaskingConfig)


@dataclass(kw_only=True)
class PretrainConfig(SpecialistRunConfig):
    """One run of `pretrain-backbone`."""

    trainer: PretrainTrainerConfig = field(default_factory=PretrainTrainerConfig)


ConfigStore.instance().store(name="pretrain_backbone_schema", node=PretrainConfig)


def compose_pretrain_config(
    overrides: Sequence[str] = (), config_dir: Path | None = None
) -> PretrainConfig:
    """Compose the configuration `pretrain_backbone` with Hydra.

    Arguments and errors as for `specialists.config.compose_config`.
    """
    config = compose_checked("pretrain_backbone", PretrainConfig, overrides, config_dir)
    config.specialist.pretrained.check()
    return config


def parse_pretrain_command_line(arguments: Sequence[str]) -> PretrainConfig | None:
    """The configuration a command line asks for, or None if it only wanted to see it."""
    return parse_overrides(
        arguments,
        compose_pretrain_config,
        prog="pretrain-backbone",
        description="Teach a backbone to see from chips without labels, for specialists to start "
        "from; labels and the test split of a data set are not looked at.",
        epilog="example: pretrain-backbone data=unlabelled data.root=/data/chips "
        "data.sensor=sentinel-2-l2a run_dir=runs/start",
    )
