"""A data set as an evaluation sees it: its chips by split, its task, and what follows from both."""

import hashlib
from dataclasses import dataclass
from functools import cached_property

from evaluation.context import DataContext
from evaluation.tasks import Task
from rasters import ChipDataset
from sensors import Channel, InputError
from specialists.data import DataConfig, describe_splits, load_splits
from specialists.splitting import groups_of

SPLITS = ("train", "selection", "test")


@dataclass(frozen=True)
class EvaluationData:
    """A labelled data set with a test split.

    Args:
        config: Its configuration.
        chips: Its chips of `train`, `selection` and `test`.
        task: What is asked of each chip.
    """

    config: DataConfig
    chips: dict[str, ChipDataset]
    task: Task

    @property
    def name(self) -> str:
        """Its name in tables."""
        return self.config.name

    @property
    def bands(self) -> tuple[Channel, ...]:
        """What the layers of its images measure."""
        return self.chips["train"].bands

    def forget(self) -> None:
        """Let go of the chips that were kept in memory; they are read again when asked for."""
        for chips in self.chips.values():
            chips.forget()

    @cached_property
    def context(self) -> DataContext:
        """What encoders that depend on data are built on; every training chip is read for it."""
        return DataContext.measure(self.chips["train"], self.config.gsd)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the content of every split; every file is read for it."""
        parts = [f"{split} {self.chips[split].content_digest()}" for split in SPLITS]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def groups(self, split: str) -> tuple[str, ...] | None:
        """The group (place, scene) of each chip of a split, or None where none is known."""
        chips = self.chips[split]
        by = self.config.split
        if by.by == "group" and (by.group_pattern or by.group_table):
            return tuple(groups_of(chips, by))
        return chips.groups

    def describe(self) -> dict[str, object]:
        """What the results say of it."""
        config, train = self.config, self.chips["train"]
        sensor = config.sensor if isinstance(config.sensor, str) else None
        return {
            "title": config.title,
            "licence": config.licence,
            "source": config.source,
            "task": self.task.kind,
            "multi_label": self.task.multi_label,
            "classes": list(self.task.classes),
            "counts": {split: len(self.chips[split]) for split in SPLITS},
            "sensor": sensor,
            "bands": [band.name for band in train.bands],
            "gsd": self.context.gsd,
            "digest": self.digest,
            "split": describe_splits(config),
        }


def load_data(config: DataConfig) -> EvaluationData:
    """Find the chips of a data set.

    Args:
        config: The data set.

    Raises:
        InputError: If its files cannot be used, or it has no test split.
    """
    chips = load_splits(config).chips
    if "test" not in chips:
        raise InputError(
            f"data {config.name} has no test split: give data.test files of its own, or a share in "
            "data.split.fractions"
        )
    train = chips["train"]
    per_pixel = "mask" in train[0]
    task = Task(train.task, train.classes, train.multi_label, per_pixel)
    return EvaluationData(config, {split: chips[split] for split in SPLITS}, task)
