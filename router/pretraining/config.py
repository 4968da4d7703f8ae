"""The configuration of `pretrain-trunk`: `configs/pretrain_trunk.yaml` is its YAML form."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore

from router.pretraining.recipe import TrunkRecipe
from sensors import InputError
from specialists.config import RunConfig, compose_checked, parse_overrides
from specialists.data import DataConfig
from specialists.named_data import load_data_config
from specialists.recipe import LoopConfig


@dataclass
class TrunkTrainerConfig(TrunkRecipe, LoopConfig):
    """The recipe of a trunk, and where it runs."""


@dataclass(kw_only=True)
class TrunkSettings(RunConfig):
    """What a pretraining is told beside its sources.

    Args:
        trunk: Where it starts: a name such as `dofa-nano` for random weights, or the file or run
            folder of a trunk to go on from.
        image_size: Edge in pixels of the images that the trunk sees. Of larger chips a part is cut
            out, smaller ones are enlarged.
        turn: Mirror and turn training images at random.
        steps: Batches in an epoch; if not given, as many as hold the training chips once.
        selection_chips: At most so many chips of each source are scored after an epoch.
        workers: Processes that read chips beside the training.
    """

    trunk: str = "dofa-nano"
    image_size: int = 128
    turn: bool = True
    steps: int | None = None
    selection_chips: int = 256
    workers: int = 0
    trainer: TrunkTrainerConfig = field(default_factory=TrunkTrainerConfig)

    def check(self) -> None:
        """Refuse numbers that leave nothing to do.

        Raises:
            InputError: See above.
        """
        for name in ("image_size", "selection_chips", "steps"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name} {value} is not 1 or more")
        self.trainer.check()


@dataclass
class SourceConfig:
    """A data set to learn from; its labels and its test split are not looked at.

    Args:
        data: The data set.
        weight: How often it comes: batches of a source are in proportion to its weight times the
            square root of its number of training chips. With 0 it is only scored.
    """

    data: DataConfig
    weight: float = 1.0


@dataclass(kw_only=True)
class PretrainTrunkConfig(TrunkSettings):
    """One run of `pretrain-trunk`.

    Args:
        sources: What it learns from.
    """

    sources: list[SourceConfig]


@dataclass(kw_only=True)
class _Written(TrunkSettings):
    """The same as a person writes it.

    Args:
        sources: Each a name from `configs/data`, or a mapping with `base`, such a name, and what to
            change, perhaps its `weight`.
        root: Folder of data sets.
    """

    sources: list[Any]
    root: str


ConfigStore.instance().store(name="pretrain_trunk_schema", node=_Written)


def compose_trunk_config(
    overrides: Sequence[str] = (), config_dir: Path | None = None
) -> PretrainTrunkConfig:
    """Compose the configuration `pretrain_trunk` with Hydra.

    Arguments as for `specialists.config.compose_config`.

    Raises:
        InputError: If a key or value is not what it may be, or a source is not known, is named
            twice, or none is learned from.
    """
    written = compose_checked("pretrain_trunk", _Written, overrides, config_dir)
    written.check()
    settings = {entry.name: getattr(written, entry.name) for entry in fields(TrunkSettings)}
    sources = [_load_source(entry, written.root, config_dir) for entry in written.sources]
    names = [source.data.name for source in sources]
    if twice := {name for name in names if names.count(name) > 1}:
        raise InputError(
            f"sources: {', '.join(sorted(twice))} is there more than once; give each a `name`"
        )
    if not any(source.weight for source in sources):
        raise InputError("sources: there is none to learn from; name one with a weight above 0")
    return PretrainTrunkConfig(sources=sources, **settings)


def _load_source(entry: object, root: str, config_dir: Path | None) -> SourceConfig:
    weight: Any = 1.0
    if isinstance(entry, Mapping):
        weight = entry.get("weight", weight)
        entry = {key: value for key, value in entry.items() if key != "weight"}
    data = load_data_config(entry, root, config_dir)
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not weight >= 0:
        raise InputError(f"source {data.name}: weight {weight!r} is not a number of 0 or more")
    if Path(data.name).name != data.name:
        raise InputError(f"source {data.name!r}: files are named by it; leave out / and the like")
    return SourceConfig(data, float(weight))


def parse_trunk_command_line(arguments: Sequence[str]) -> PretrainTrunkConfig | None:
    """The configuration a command line asks for, or None if it only wanted to see it."""
    return parse_overrides(
        arguments,
        compose_trunk_config,
        prog="pretrain-trunk",
        description="Teach a trunk to see from images of any sensors; labels and the test splits "
        "of data sets are not looked at.",
        epilog="example: pretrain-trunk 'sources=[sentinel2_unlabelled,sen1floods11]' root=/data "
        "run_dir=runs/trunk",
    )
