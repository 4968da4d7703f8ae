"""From a data configuration to the splits a specialist is trained, selected and tested on.

A split with files of its own is read from them; any other is cut from the training files.
"""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

from rasters import ChipDataset
from sensors import InputError
from specialists._readers import check_kind, needed, read_chips, reading_options
from specialists.data_config import ChipsConfig, DataConfig, TorchGeoConfig
from specialists.splitting import SplitConfig, cut, cut_mask, groups_of

__all__ = [
    "ChipsConfig",
    "DataConfig",
    "Splits",
    "TorchGeoConfig",
    "describe_splits",
    "load_splits",
]


@dataclass(frozen=True)
class Splits:
    """The chips of a run by split: `train`, `selection`, and the test sets there are."""

    chips: dict[str, ChipDataset]

    def digest(self) -> str:
        """SHA-256 of which chip is in which split."""
        lines = sorted(
            f"{name}\t{id_}\n" for name, chips in self.chips.items() for id_ in chips.ids
        )
        return hashlib.sha256("".join(lines).encode()).hexdigest()


def load_splits(config: DataConfig) -> Splits:
    """Find the chips of every split; what has no files of its own is cut from the training files.

    Args:
        config: The data set.

    Raises:
        InputError: If files are missing or cannot be used, a split is empty, or a group of chips is
            in two splits.
    """
    _check(config)
    files = _own_files(config)
    fractions = {name: share for name, share in config.split.fractions.items() if name not in files}
    if config.split.by == "component":
        chips = _read_components(config, files, fractions)
    else:
        whole = read_chips(config, config.train)
        parts = cut(whole, config.split, fractions)
        chips = {name: whole.subset(indices) for name, indices in parts.items() if indices}
        same_classes = replace(config, classes=list(whole.classes))
        chips |= {name: read_chips(same_classes, given) for name, given in files.items()}
    for name in ("train", "selection"):
        if name not in chips:
            raise InputError(
                f"data {config.name}: no chip is left for the {name} split; give data.{name} files "
                "of its own, or change data.split"
            )
    _check_bands(chips)
    if config.split.by == "group":
        _check_groups(chips, config.split)
    return Splits(chips)


def _own_files(config: DataConfig) -> dict[str, ChipsConfig]:
    """The splits beside `train` that have files of their own."""
    splits = {"selection": config.selection, "test": config.test, **config.other_tests}
    return {name: given for name, given in splits.items() if given != ChipsConfig()}


def describe_splits(config: DataConfig) -> str:
    """Where the chips of each split come from, in words, for the record."""
    own = _own_files(config)
    text = f"cut from the training files {config.split.describe()}"
    return f"{text}; files of their own: {', '.join(own)}" if own else text


def _check(config: DataConfig) -> None:
    check_kind(config)
    reserved = {"train", "selection", "test"} & config.other_tests.keys()
    if reserved:
        raise InputError(f"data.other_tests: {', '.join(reserved)} is the name of another split")


def _check_bands(chips: dict[str, ChipDataset]) -> None:
    wanted = [band.describe() for band in chips["train"].bands]
    for name, part in chips.items():
        found = [band.describe() for band in part.bands]
        if found != wanted:
            raise InputError(
                f"the {name} split has the bands {', '.join(found)}, and the training split "
                f"{', '.join(wanted)}; name those to read, in one order, with data.bands"
            )


def _check_groups(chips: dict[str, ChipDataset], split: SplitConfig) -> None:
    seen: dict[str, str] = {}
    for name, part in chips.items():
        for group in set(groups_of(part, split)):
            if seen.setdefault(group, name) != name:
                raise InputError(
                    f"group {group} is in the {seen[group]} and in the {name} split: chips of one "
                    "group look alike, so it may be in one of them only"
                )


def _read_components(
    config: DataConfig, files: dict[str, ChipsConfig], fractions: dict[str, float]
) -> dict[str, ChipDataset]:
    """Splits that see the same images, each with the labelled polygons of its own."""
    if config.task != "semantic-segmentation":
        raise InputError("data.split.by=component cuts the masks of a semantic-segmentation")
    chips = _cut_components(config, config.train, fractions)
    for name, given in files.items():
        if given.masks is not None:
            chips[name] = read_chips(config, given)
        elif "test" in fractions:
            same_masks = replace(given, masks=config.train.masks)
            chips[name] = _cut_components(config, same_masks, fractions)["test"]
        else:
            raise InputError(f"data.{name} has no masks, and data.split holds none out for a test")
    return chips


def _cut_components(
    config: DataConfig, files: ChipsConfig, fractions: dict[str, float]
) -> dict[str, ChipDataset]:
    place = Path(needed(files.images, "images", config))
    if "*" in str(place):
        raise InputError(f"data.split.by=component needs a folder or a file, got {place}")
    whole = read_chips(replace(config, tile=None, chip_size=None), files)
    folder = place if place.is_dir() else place.parent
    images = [folder / id_ for id_ in whole.ids]
    masks = [
        cut_mask(whole[number]["mask"].numpy(), config.split, fractions)
        for number in range(len(whole))
    ]
    return {
        name: ChipDataset.from_pairs(
            images,
            [parts[name] for parts in masks],
            classes=whole.classes,
            tile=config.tile,
            **reading_options(config),
        )
        for name in masks[0]
    }
