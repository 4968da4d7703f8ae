"""What the labels of a training split look like: counts of classes, or the scale of values.

Shape suffixes: K classes or targets, N scenes or pixels.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from rasters import IGNORE_INDEX, ChipDataset
from rasters.progress import show_progress
from sensors import InputError


def target_of(batch: dict[str, Any]) -> Tensor:
    """The `mask` of a per-pixel task, the `label` of any other."""
    target: Tensor = batch["mask"] if "mask" in batch else batch["label"]
    return target


def count_classes(chips: ChipDataset, classes: Sequence[str]) -> Tensor:
    """How often each class occurs, in scenes or pixels.

    Args:
        chips: Training chips with class numbers, or flags (K,) for multi-label.
        classes: Names of the classes.

    Returns:
        (K,) whole numbers, all above 0; for multi-label one at least, as what is nowhere is still
        learned to be absent.

    Raises:
        InputError: If a class does not occur; the message names it.
    """
    counts_K = torch.zeros(len(classes), dtype=torch.long)
    needed = len(classes)
    for target in _targets(chips):
        if target.is_floating_point():
            needed = 1
            counts_K += target.long()
        else:
            labelled = target[target != IGNORE_INDEX]
            counts_K += torch.bincount(labelled.flatten(), minlength=len(classes))
    empty = [name for name, count in zip(classes, counts_K.tolist(), strict=True) if count == 0]
    if len(classes) - len(empty) < needed:
        raise InputError(
            f"no training sample of class {', '.join(empty)}: leave it out of the classes, "
            "add samples, or split another way (data.split.seed)"
        )
    return counts_K


def measure_targets(chips: ChipDataset, names: Sequence[str]) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each target of a regression over what is known (not NaN).

    Args:
        chips: Training chips with values (K,), (H, W) or (K, H, W).
        names: Names of the targets.

    Raises:
        InputError: If a target has no value, or never varies.
    """
    parts = [target.reshape(len(names), -1).double() for target in _targets(chips)]
    mean, std = [], []
    for name, values_N in zip(names, torch.cat(parts, dim=1), strict=True):
        known_N = values_N[values_N.isfinite()]
        if len(known_N) == 0 or known_N.min() == known_N.max():
            raise InputError(
                f"target {name} has {len(known_N)} known values in the training split and does "
                "not vary: there is nothing to learn from it"
            )
        mean.append(known_N.mean().item())
        std.append(known_N.std(correction=0).item())
    return mean, std


def _targets(chips: ChipDataset) -> Iterator[Tensor]:
    for number in show_progress(range(len(chips)), "Labels of the training split"):
        yield target_of(chips[number])
