"""The configuration of a training run: its schema, and how Hydra puts it together.

The YAML files are in the package `configs`; what they may say is what the dataclasses here and in
`data`, `task` and `augment` declare. A configuration is plain data: nothing in it names code to
run.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml
from hydra import compose, initialize_config_module
from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from sensors import InputError
from specialists.data import DataConfig
from specialists.recipe import LoopConfig
from specialists.task import RecipeConfig

T = TypeVar("T")
Config = TypeVar("Config", bound="RunConfig")


@dataclass
class PretrainedConfig:
    """Where the backbone's weights start: at random, at those of a file, or of a registered model.

    Args:
        file: Path of the file, in timm's format or a specialist's.
        registry: Name in the registry, `name` or `name@version`, in place of `file`.
        licence: Of the weights; those of the specialist derive from them. A registered model's card
            states it.
    """

    file: str | None = None
    registry: str | None = None
    licence: str | None = None

    def check(self) -> None:
        """Refuse a start that is named twice or whose licence is not.

        Raises:
            InputError: See above.
        """
        if self.file is None:
            return
        if self.registry is not None:
            raise InputError(
                f"specialist.pretrained has the file {self.file} and the registered model "
                f"{self.registry}: name one of them"
            )
        if self.licence is None:
            raise InputError(
                f"specialist.pretrained.file={self.file} needs specialist.pretrained.licence: "
                "what is trained from these weights inherits it"
            )


@dataclass
class BackboneConfig:
    """The backbone, as far as the data does not decide it; names are those of `SpecialistSpec`."""

    architecture: str = "convnextv2_atto"
    stem: str = "fixed"
    stem_stride: int = 4
    drop_path_rate: float = 0.0
    pretrained: PretrainedConfig = field(default_factory=PretrainedConfig)


@dataclass
class HeadConfig:
    """The head, as far as the data does not decide it; names are those of `TaskSpec`."""

    head: str = "pyramid"
    head_hidden_size: int = 0
    decoder: str = "unet"
    drop_rate: float = 0.0


@dataclass
class SpecialistConfig(HeadConfig, BackboneConfig):
    """The network, as far as the data does not decide it; names are those of `SpecialistSpec`."""


@dataclass
class TrainerConfig(RecipeConfig, LoopConfig):
    """The recipe, and where it runs."""


@dataclass(kw_only=True)
class RunConfig:
    """One run, whatever it trains.

    Args:
        name: Of the run.
        run_dir: Folder for everything it leaves behind.
        trainer: How and where the weights are learned.
        seed: Of weights, order of the data and augmentation.
        overwrite: Remove an earlier run in `run_dir` first.
    """

    name: str
    run_dir: str
    trainer: LoopConfig = field(default_factory=LoopConfig)
    seed: int = 0
    overwrite: bool = False


@dataclass(kw_only=True)
class SpecialistRunConfig(RunConfig):
    """One run that trains a specialist's weights, whatever they learn from.

    Args:
        data, specialist: The configuration groups.
    """

    data: DataConfig
    specialist: BackboneConfig = field(default_factory=BackboneConfig)


@dataclass(kw_only=True)
class TrainConfig(SpecialistRunConfig):
    """One run of `train-specialist`."""

    specialist: SpecialistConfig = field(default_factory=SpecialistConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)


# `configs/train.yaml` starts from it, so that Hydra knows every key, its type and its default.
ConfigStore.instance().store(name="train_schema", node=TrainConfig)


def compose_config(overrides: Sequence[str] = (), config_dir: Path | None = None) -> TrainConfig:
    """Compose the configuration `train` with Hydra.

    Args:
        overrides: In Hydra's grammar, such as `experiment=eurosat_rgb` or `trainer.lr=1e-3`.
        config_dir: A folder of one's own groups (`data/mine.yaml`, ...), searched beside `configs`.

    Raises:
        InputError: If an override cannot be parsed, or a group, key or value is not what it may be.
    """
    config = compose_checked("train", TrainConfig, overrides, config_dir)
    config.specialist.pretrained.check()
    return config


def compose_checked(
    name: str, schema: type[T], overrides: Sequence[str], config_dir: Path | None = None
) -> T:
    """Compose a configuration with Hydra and check it against its schema.

    Args:
        name: Of a YAML file in `configs`, or in `config_dir`.
        schema: Dataclass of what it may hold.
        overrides: In Hydra's grammar.
        config_dir: A folder searched beside `configs`.

    Raises:
        InputError: If the file is not there, an override cannot be parsed, or a group, key or value
            is not what it may be.
    """
    overrides = list(overrides)
    if config_dir is not None:
        if not config_dir.is_dir():
            raise InputError(f"--config-dir {config_dir} is not a folder")
        overrides.append(f"hydra.searchpath=['file://{config_dir.resolve()}']")
    try:
        with initialize_config_module("configs", version_base="1.3"):
            composed = compose(name, overrides)
        # Checked once more: Hydra's `+key=value` may add keys that the schema does not have.
        plain = OmegaConf.to_container(composed, resolve=True, throw_on_missing=True)
        config = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(schema), plain))
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        raise InputError(f"the configuration cannot be used: {error}") from error
    assert isinstance(config, schema)
    return config


def to_plain(config: RunConfig) -> dict[str, Any]:
    """The configuration as dictionaries, lists, strings and numbers, with everything resolved."""
    plain = OmegaConf.to_container(DictConfig(OmegaConf.structured(config)), resolve=True)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def parse_command_line(arguments: Sequence[str]) -> TrainConfig | None:
    """The configuration a command line asks for, or None if it only wanted to see it."""
    return parse_overrides(
        arguments,
        compose_config,
        prog="train-specialist",
        description="Train a specialist and write a run folder for register-specialist.",
        epilog="example: train-specialist experiment=eurosat_rgb data.root=/data run_dir=runs/a",
    )


def parse_overrides(
    arguments: Sequence[str],
    compose: Callable[[Sequence[str], Path | None], Config],
    **description: str,
) -> Config | None:
    """The configuration that a command line of overrides asks for, or None if it was only shown.

    Args:
        arguments: Of the command line.
        compose: From overrides and a folder of further groups to the configuration.
        description: What `argparse.ArgumentParser` says of the command.
    """
    parser = argparse.ArgumentParser(**description)  # type: ignore[arg-type]
    parser.add_argument(
        "overrides", nargs="*", metavar="KEY=VALUE", help="Hydra overrides, such as trainer.lr=1e-3"
    )
    parser.add_argument(
        "--config-dir",
        type=Path,
        metavar="DIR",
        help="folder with configuration groups of your own",
    )
    parser.add_argument(
        "-c", "--cfg", choices=["job"], help="print the resolved configuration and leave"
    )
    options = parser.parse_intermixed_args(arguments)
    config = compose(options.overrides, options.config_dir)
    if options.cfg is None:
        return config
    print(yaml.safe_dump(to_plain(config), sort_keys=False), end="")
    return None
