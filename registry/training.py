"""`train-specialist` and `pretrain-backbone`: trainings that may start from a registered model."""

import shlex
import sys
from dataclasses import replace

from registry.registry import Registry
from sensors.errors import exit_on_input_error
from specialists.config import PretrainedConfig, SpecialistRunConfig, parse_command_line
from specialists.train import train_specialist
from specialists.warm_start import pretrain_backbone
from specialists.warm_start_config import parse_pretrain_command_line


@exit_on_input_error
def train_main() -> None:
    """Entry point of `train-specialist`."""
    config = parse_command_line(sys.argv[1:])
    if config is not None:
        _look_up(config)
        train_specialist(config, command=shlex.join(["train-specialist", *sys.argv[1:]]))


@exit_on_input_error
def pretrain_main() -> None:
    """Entry point of `pretrain-backbone`."""
    config = parse_pretrain_command_line(sys.argv[1:])
    if config is not None:
        _look_up(config)
        pretrain_backbone(config, command=shlex.join(["pretrain-backbone", *sys.argv[1:]]))


def _look_up(config: SpecialistRunConfig) -> None:
    if config.specialist.pretrained.registry is not None:
        config.specialist.pretrained = find_start(config.specialist.pretrained, Registry.open())


def find_start(pretrained: PretrainedConfig, registry: Registry) -> PretrainedConfig:
    """The start with the file, the exact version and the licence that its card states.

    Args:
        pretrained: Names a registered model.
        registry: Where it is.

    Raises:
        InputError: If it is not there or no specialist, or its file was changed or damaged.
    """
    card = registry.specialist(pretrained.registry or "")
    return replace(
        pretrained,
        file=str(registry.weights(card.reference)),
        registry=str(card.reference),
        licence=pretrained.licence or card.license,
    )
