"""What follows from a configuration and its data: the network's spec, the record of a training.

Shape suffixes: K classes.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from torch import Tensor

from rasters import ChipDataset, measure_statistics
from sensors import Channel, InputError
from specialists.config import HeadConfig, PretrainedConfig, SpecialistRunConfig, TrainConfig
from specialists.data import DataConfig, Splits, describe_splits
from specialists.losses import balance_weights
from specialists.spec import SpecialistSpec
from specialists.targets import count_classes, measure_targets
from specialists.task_spec import TaskSpec

CLASS_WEIGHTS = ("none", "balanced")


def describe_task(data: DataConfig, head: HeadConfig, train: ChipDataset) -> TaskSpec:
    """The task these data set, scaled by statistics of the training chips.

    Raises:
        InputError: If the size of a pixel is not known, or the spec refuses a value.
    """
    statistics, first = measure_statistics(train), train[0]
    scaling: dict[str, Any] = {}
    if train.task == "regression":
        scaling["target_mean"], scaling["target_std"] = measure_targets(train, train.classes)
    return TaskSpec(
        task=train.task,
        bands=train.bands,
        classes=train.classes,
        mean=statistics.mean,
        std=statistics.std,
        gsd=_gsd(data, train.bands),
        chip_size=first["image"].shape[-1],
        multi_label=train.multi_label,
        per_pixel=train.task == "regression" and "mask" in first,
        head=head.head,
        head_hidden_size=head.head_hidden_size,
        decoder=head.decoder,
        drop_rate=head.drop_rate,
        **scaling,
    )


def describe_network(config: TrainConfig, train: ChipDataset) -> SpecialistSpec:
    """The network these data need; errors as for `describe_task`."""
    network, task = config.specialist, describe_task(config.data, config.specialist, train)
    return SpecialistSpec(
        architecture=network.architecture,
        stem=network.stem,
        stem_stride=network.stem_stride,
        drop_path_rate=network.drop_path_rate,
        **{entry.name: getattr(task, entry.name) for entry in fields(task)},
    )


def describe_backbone(config: SpecialistRunConfig, train: ChipDataset) -> SpecialistSpec:
    """The backbone without a head these data need, scaled by statistics of the training chips.

    Raises:
        InputError: If the size of a pixel is not known, or the spec refuses a value.
    """
    statistics, network = measure_statistics(train), config.specialist
    return SpecialistSpec(
        architecture=network.architecture,
        task="similarity-search",
        bands=train.bands,
        classes=(),
        mean=statistics.mean,
        std=statistics.std,
        gsd=_gsd(config.data, train.bands),
        chip_size=train[0]["image"].shape[-1],
        stem=network.stem,
        stem_stride=network.stem_stride,
        drop_path_rate=network.drop_path_rate,
    )


def count_labels(
    data: DataConfig, class_weights: str, train: ChipDataset, learner: str
) -> tuple[Tensor | None, Tensor | None]:
    """How often each class occurs in the training chips, and its weight in the loss, (K,) each.

    Args:
        data: The data set.
        class_weights: One of `CLASS_WEIGHTS`.
        train: The training chips.
        learner: The command that learns from chips without labels, for the message.

    Returns:
        Counts, None for a regression, and weights, None if all are the same.

    Raises:
        InputError: If the chips have no labels, or the kind of weights is unknown.
    """
    if train.task == "similarity-search":
        raise InputError(
            f"data {data.name} has no labels to learn a task from; {learner} learns from such chips"
        )
    counts_K = None if train.task == "regression" else count_classes(train, train.classes)
    return counts_K, weigh_classes(class_weights, train, counts_K)


def weigh_classes(kind: str, train: ChipDataset, counts_K: Tensor | None) -> Tensor | None:
    """Weight of each class in the loss (K,), or None.

    Args:
        kind: One of `CLASS_WEIGHTS`.
        train: The training chips.
        counts_K: How often each class occurs in them; None for a regression.

    Raises:
        InputError: If the kind is unknown.
    """
    if kind not in CLASS_WEIGHTS:
        raise InputError(f"trainer.class_weights {kind!r} is not one of {', '.join(CLASS_WEIGHTS)}")
    if kind == "none" or counts_K is None:
        return None
    return balance_weights(counts_K, len(train) if train.multi_label else None)


def describe_training(
    config: SpecialistRunConfig, splits: Splits, counts_K: Tensor | None
) -> dict[str, Any]:
    """What a card tells about the data of a training and its start.

    Args:
        config: The run's configuration.
        splits: The chips of each split.
        counts_K: How often each class occurs in the training split; None where there are none.
    """
    return {
        "data": describe_data(config.data, splits, counts_K),
        "pretrained": _describe_pretrained(config.specialist.pretrained),
    }


def describe_data(data: DataConfig, splits: Splits, counts_K: Tensor | None) -> dict[str, Any]:
    """What a record tells about the data of a training; arguments as for `describe_training`."""
    classes = splits.chips["train"].classes
    counts = [] if counts_K is None else zip(classes, counts_K.tolist(), strict=True)
    return {
        "name": data.name,
        "title": data.title,
        "licence": data.licence,
        "source": data.source,
        "counts": {name: len(part) for name, part in splits.chips.items()},
        "class_counts": dict(counts),
        "split_hash": splits.digest(),
        "split": describe_splits(data),
    }


def _gsd(data: DataConfig, bands: Sequence[Channel]) -> float:
    known = [band.gsd for band in bands if band.gsd is not None]
    if data.gsd is None and not known:
        raise InputError(
            f"the bands of data {data.name} do not say how large a pixel is; "
            "give data.gsd in metres"
        )
    return float(data.gsd or min(known))


def _describe_pretrained(pretrained: PretrainedConfig) -> dict[str, str | None] | None:
    if pretrained.file is None:
        return None
    path = Path(pretrained.file)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    record = {"file": path.name, "sha256": digest, "licence": pretrained.licence}
    if pretrained.registry is not None:
        record["registry"] = pretrained.registry
    return record
