"""The configuration of a training run: its schema, and how Hydra puts it together.

The YAML files are in the package `configs`; what they may say is what the dataclasses here and in
`data`, `task` and `augment` declare. A configuration is plain data: nothing in it names code to
run.
"""

import argparse
from collections.abc import Sequence
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
from specialists.task import RecipeConfig

T = TypeVar("T")


@dataclass
class PretrainedConfig:
    """A file of pretrained backbone weights.

    Args:
        file: Path of the file, in timm's format; none by default.
        licence: Its licence; the specialist's weights derive from it.
    """

    file: str | None = None
    licence: str | None = None


@dataclass
class SpecialistConfig:
    """The network, as far as the data does not decide it; names are those of `SpecialistSpec`."""

    architecture: str = "convnextv2_atto"
    stem_stride: int = 4
    head: str = "pyramid"
    head_hidden_size: int = 0
    decoder: str = "unet"
    drop_path_rate: float = 0.0
    drop_rate: float = 0.0
    pretrained: PretrainedConfig = field(default_factory=PretrainedConfig)


@dataclass
class TrainerConfig(RecipeConfig):
    """The recipe, and where it runs.

    Args:
        accelerator, devices, strategy: Lightning's own switches; `devices=2` trains on two GPUs.
        amp: bfloat16 mixed precision on CUDA. Never on a CPU, where it is far slower.
        deterministic: Ask CUDA for reproducible kernels too.
        energy: Record the electricity that the training loop takes.
    """

    accelerator: str = "auto"
    devices: Any = 1
    strategy: str = "auto"
    amp: bool = True
    deterministic: bool = False
    energy: bool = True


@dataclass
class TrainConfig:
    """One training run.

    Args:
        name: Of the run.
        run_dir: Folder for everything it leaves behind.
        seed: Of weights, order of the data and augmentation.
        overwrite: Remove an earlier run in `run_dir` first.
        data, specialist, trainer: The configuration groups.
    """

    name: str
    run_dir: str
    data: DataConfig
    specialist: SpecialistConfig = field(default_factory=SpecialistConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    seed: int = 0
    overwrite: bool = False


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
    pretrained = config.specialist.pretrained
    if pretrained.file is not None and pretrained.licence is None:
        raise InputError(
            f"specialist.pretrained.file={pretrained.file} needs specialist.pretrained.licence: "
            "what is trained from these weights inherits it"
        )
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
    except (HydraException, OmegaConfBaseException) as error:
        raise InputError(f"the configuration cannot be used: {error}") from error
    assert isinstance(config, schema)
    return config


def to_plain(config: TrainConfig) -> dict[str, Any]:
    """The configuration as dictionaries, lists, strings and numbers, with everything resolved."""
    plain = OmegaConf.to_container(DictConfig(OmegaConf.structured(config)), resolve=True)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def parse_command_line(arguments: Sequence[str]) -> TrainConfig | None:
    """The configuration a command line asks for, or None if it only wanted to see it."""
    parser = argparse.ArgumentParser(
        prog="train-specialist",
        description="Train a specialist and write a run folder for register-specialist.",
        epilog="example: train-specialist experiment=eurosat_rgb data.root=/data run_dir=runs/a",
    )
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
    config = compose_config(options.overrides, options.config_dir)
    if options.cfg is None:
        return config
    print(yaml.safe_dump(to_plain(config), sort_keys=False), end="")
    return None
