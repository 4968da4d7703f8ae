"""How training files are cut into splits: by chip, block of ground, group, or labelled polygon."""

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rasters import ChipDataset, block_split, component_split, hash_split
from sensors import InputError

METHODS = ("hash", "block", "group", "component")


@dataclass
class SplitConfig:
    """How splits without files of their own are cut from the training files.

    Args:
        by: `hash` of the chip's id; `block` of ground, by location; `group`, so that no group
            straddles; `component`, so that no labelled polygon of a mask straddles.
        fractions: Share of each split that is cut, `selection` and perhaps `test`; the rest is for
            training.
        seed: Another seed is another split.
        block_size: Edge of a block in degrees of longitude and latitude.
        group_pattern: Regular expression whose first group, searched in a chip's id, names its
            group.
        group_table: CSV file that names the group of each chip, ...
        group_columns: ... and its two columns: the chip's id and its group.
        assign: Groups put into a split by name, in place of `fractions`.
    """

    by: str = "hash"
    fractions: dict[str, float] = field(default_factory=lambda: {"selection": 0.1})
    seed: int = 0
    block_size: float | None = None
    group_pattern: str | None = None
    group_table: str | None = None
    group_columns: list[str] = field(default_factory=lambda: ["chip", "group"])
    assign: dict[str, list[str]] = field(default_factory=dict)

    def describe(self) -> str:
        """How it cuts, in words, for the record."""
        if self.assign:
            named = "; ".join(
                f"{name}: {', '.join(groups)}" for name, groups in self.assign.items()
            )
            return f"by {self.by} ({named})"
        shares = ", ".join(f"{name} {share:g}" for name, share in self.fractions.items())
        return f"by {self.by} ({shares}), seed {self.seed}"


def cut(
    chips: ChipDataset, config: SplitConfig, fractions: Mapping[str, float]
) -> dict[str, list[int]]:
    """Indices of the chips of each split.

    Args:
        chips: All chips there are to share out.
        config: How.
        fractions: Share of each split beside `train`, which takes the rest.

    Raises:
        InputError: If the method is unknown, lacks what it needs, or the shares leave nothing.
    """
    shares = _with_train(fractions)
    if config.by == "hash":
        return hash_split(chips.ids, shares, config.seed)
    if config.by == "block":
        if config.block_size is None or chips.locations is None:
            raise InputError(
                "data.split.by=block needs data.split.block_size and georeferenced chips"
            )
        return block_split(chips.locations, config.block_size, shares, config.seed)
    if config.by == "group":
        groups = groups_of(chips, config)
        if config.assign:
            return _assign(groups, config.assign)
        return block_split(groups, None, shares, config.seed)
    raise InputError(f"data.split.by {config.by!r} is not one of {', '.join(METHODS)}")


def groups_of(chips: ChipDataset, config: SplitConfig) -> list[str]:
    """The group of each chip.

    Raises:
        InputError: If nothing tells the groups, or a chip has none.
    """
    if config.group_pattern is not None:
        found = [re.search(config.group_pattern, id_) for id_ in chips.ids]
        groups = [match[1] if match else None for match in found]
    elif config.group_table is not None:
        table = _read_groups(Path(config.group_table), config.group_columns)
        groups = [table.get(id_) or table.get(Path(id_).stem) for id_ in chips.ids]
    elif chips.groups is not None:
        groups = list(chips.groups)
    else:
        raise InputError(
            "data.split.by=group needs data.split.group_pattern, data.split.group_table or "
            "data.group_column"
        )
    without = [id_ for id_, group in zip(chips.ids, groups, strict=True) if group is None]
    if without:
        raise InputError(f"{len(without)} chips have no group, such as {without[0]}")
    return [str(group) for group in groups]


def cut_mask(
    mask_HW: NDArray[np.integer], config: SplitConfig, fractions: Mapping[str, float]
) -> dict[str, NDArray[np.integer]]:
    """Each split's share of the labelled polygons of a mask; all else is `IGNORE_INDEX`.

    Args:
        mask_HW: Class indices.
        config: The seed.
        fractions: Share of each split beside `train`, which takes the rest.
    """
    return component_split(mask_HW, _with_train(fractions), config.seed)


def _with_train(fractions: Mapping[str, float]) -> dict[str, float]:
    rest = 1 - sum(fractions.values())
    if min([rest, *fractions.values()]) <= 0:
        raise InputError(
            f"data.split.fractions {dict(fractions)} must be above 0 and leave some for training"
        )
    return {"train": rest, **fractions}


def _assign(groups: Sequence[str], wanted: Mapping[str, Sequence[str]]) -> dict[str, list[int]]:
    split_of = {group: name for name, named in wanted.items() for group in named}
    unknown = sorted(set(split_of) - set(groups))
    if unknown:
        raise InputError(
            f"data.split.assign names {', '.join(unknown)}; "
            f"the groups are {', '.join(sorted(set(groups)))}"
        )
    indices: dict[str, list[int]] = {name: [] for name in ("train", *wanted)}
    for index, group in enumerate(groups):
        indices[split_of.get(group, "train")].append(index)
    return indices


def _read_groups(path: Path, columns: Sequence[str]) -> dict[str, str]:
    if not path.is_file():
        raise InputError(f"data.split.group_table {path} is not a file")
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        missing = sorted(set(columns) - set(reader.fieldnames or ()))
        if missing:
            raise InputError(
                f"{path} has no column {', '.join(missing)}; it has {reader.fieldnames}"
            )
        chip, group = columns
        return {row[chip]: row[group] for row in reader}
