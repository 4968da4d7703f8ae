"""From a data configuration to the splits a specialist is trained, selected and tested on.

A split with files of its own is read from them; any other is cut from the training files. A
configuration is plain data, and a closed table says which reader its `kind` means.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from rasters import ChipDataset
from rasters.chips import Task
from sensors import InputError
from specialists.splitting import SplitConfig, cut, cut_mask, groups_of


@dataclass
class ChipsConfig:
    """Files of one split; which entries count depends on the configuration's `kind`.

    Args:
        folder: `folders`: one sub-folder a class. `records`: one a chip.
        images, masks: `pairs`: folders, files or patterns that go together by name. Without masks,
            the images' own files hold them.
        table: `table`: a CSV file.
    """

    folder: str | None = None
    images: str | None = None
    masks: str | None = None
    table: str | None = None


@dataclass
class DataConfig:
    """A labelled data set.

    Args:
        name, title, licence, source: What the card of a specialist will say of it.
        root: Folder of data sets, for use in the paths below.
        kind: `folders` (one a class), `pairs` (images and masks), `table` (a CSV file) or `records`
            (a folder a chip, with a JSON record).
        task: As in `SpecialistSpec`.
        train, selection, test: Files of each split; without, a split is cut from `train` as
            `split` says.
        other_tests: Further test sets by name, scored apart. With `split.by=component` they need no
            masks of their own: they get the ones that are held out for the test.
        sensor, bands, drop_bands, layers, processing_baseline, scale, offset, same_grid: How to
            read the files, see `rasters.open_raster`.
        gsd: Ground sample distance in metres, where the bands do not say.
        classes: Names in order, see the constructors of `rasters.ChipDataset`.
        label_map, mask_layer, tile: For masks, see `rasters.ChipDataset.from_pairs`.
        multi_label, image_column, label_column, group_column: For tables, see
            `rasters.ChipDataset.from_table`; for records the latter two are keys.
        record: Name of the JSON file in each chip's folder.
        chip_size: Crop or pad every chip to this edge, in pixels.
        cache: Keep chips in memory once they were read.
        workers: Processes that read chips beside the training.
    """

    name: str
    title: str
    licence: str
    source: str
    kind: str
    train: ChipsConfig
    root: str = "data"
    task: str = "scene-classification"
    selection: ChipsConfig = field(default_factory=ChipsConfig)
    test: ChipsConfig = field(default_factory=ChipsConfig)
    other_tests: dict[str, ChipsConfig] = field(default_factory=dict)
    split: SplitConfig = field(default_factory=SplitConfig)
    sensor: Any = None
    bands: list[str] | None = None
    drop_bands: list[str] | None = None
    layers: dict[str, list[str]] | None = None
    processing_baseline: str | None = None
    scale: Any = None
    offset: Any = None
    same_grid: bool = False
    gsd: float | None = None
    classes: list[str] | None = None
    label_map: dict[int, str] | None = None
    mask_layer: str | None = None
    tile: int | None = None
    multi_label: bool = False
    image_column: str = "file"
    label_column: Any = "label"
    group_column: str | None = None
    record: str = "record.json"
    chip_size: int | None = None
    cache: bool = True
    workers: int = 0


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
        whole = _read(config, config.train)
        parts = cut(whole, config.split, fractions)
        chips = {name: whole.subset(indices) for name, indices in parts.items() if indices}
        same_classes = replace(config, classes=list(whole.classes))
        chips |= {name: _read(same_classes, given) for name, given in files.items()}
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
    if config.kind not in _READERS:
        raise InputError(f"data.kind {config.kind!r} is not one of {', '.join(_READERS)}")
    if config.task not in _TASKS[config.kind]:
        raise InputError(
            f"data.kind={config.kind} serves {' or '.join(_TASKS[config.kind])}, "
            f"and data.task is {config.task!r}"
        )
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
            chips[name] = _read(config, given)
        elif "test" in fractions:
            same_masks = replace(given, masks=config.train.masks)
            chips[name] = _cut_components(config, same_masks, fractions)["test"]
        else:
            raise InputError(f"data.{name} has no masks, and data.split holds none out for a test")
    return chips


def _cut_components(
    config: DataConfig, files: ChipsConfig, fractions: dict[str, float]
) -> dict[str, ChipDataset]:
    place = Path(_given(files.images, "images", config))
    if "*" in str(place):
        raise InputError(f"data.split.by=component needs a folder or a file, got {place}")
    whole = _read(replace(config, tile=None, chip_size=None), files)
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
            **_options(config),
        )
        for name in masks[0]
    }


def _read(config: DataConfig, files: ChipsConfig) -> ChipDataset:
    return _READERS[config.kind](config, files)


def _read_folders(config: DataConfig, files: ChipsConfig) -> ChipDataset:
    folder = _given(files.folder, "folder", config)
    return ChipDataset.from_folders(folder, classes=config.classes, **_options(config))


def _read_pairs(config: DataConfig, files: ChipsConfig) -> ChipDataset:
    return ChipDataset.from_pairs(
        _given(files.images, "images", config),
        files.masks,
        classes=config.classes,
        label_map=config.label_map,
        mask_layer=config.mask_layer,
        tile=config.tile,
        task=cast("Task", config.task),
        **_options(config),
    )


def _read_table(config: DataConfig, files: ChipsConfig) -> ChipDataset:
    return ChipDataset.from_table(
        _given(files.table, "table", config),
        image_column=config.image_column,
        label_column=config.label_column,
        group_column=config.group_column,
        classes=config.classes,
        task=cast("Task", config.task),
        multi_label=config.multi_label,
        **_options(config),
    )


def _read_records(config: DataConfig, files: ChipsConfig) -> ChipDataset:
    return ChipDataset.from_records(
        _given(files.folder, "folder", config),
        record=config.record,
        label_key=config.label_column,
        group_key=config.group_column,
        classes=config.classes,
        task=cast("Task", config.task),
        multi_label=config.multi_label,
        **_options(config),
    )


def _options(config: DataConfig) -> dict[str, Any]:
    return {
        "sensor": config.sensor,
        "bands": config.bands,
        "drop_bands": config.drop_bands,
        "layers": config.layers,
        "processing_baseline": config.processing_baseline,
        "scale": config.scale,
        "offset": config.offset,
        "same_grid": config.same_grid,
        "chip_size": config.chip_size,
        "cache": config.cache,
    }


def _given(value: str | None, name: str, config: DataConfig) -> str:
    if not value:
        raise InputError(
            f"data.kind={config.kind} needs {name} for each split that has files of its own"
        )
    return value


_READERS: dict[str, Callable[[DataConfig, ChipsConfig], ChipDataset]] = {
    "folders": _read_folders,
    "pairs": _read_pairs,
    "table": _read_table,
    "records": _read_records,
}
_TASKS = {
    "folders": ("scene-classification",),
    "pairs": ("semantic-segmentation", "regression"),
    "table": ("scene-classification", "regression"),
    "records": ("scene-classification", "regression"),
}
