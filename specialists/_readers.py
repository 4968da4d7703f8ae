"""Which reader a data set's `kind` means: a closed table."""

from collections.abc import Callable
from typing import Any, cast

from rasters import ChipDataset
from rasters.chips import Task
from rasters.geobench import geobench_chips
from rasters.torchgeo import open_torchgeo, torchgeo_chips
from sensors import InputError
from specialists.data_config import ChipsConfig, DataConfig


def read_chips(config: DataConfig, files: ChipsConfig) -> ChipDataset:
    """The chips of one split that has files of its own.

    Args:
        config: The data set.
        files: Of the split.

    Raises:
        InputError: If the files cannot be used.
    """
    return _READERS[config.kind](config, files)


def check_kind(config: DataConfig) -> None:
    """Refuse a kind that is unknown or does not serve the task."""
    if config.kind not in _READERS:
        raise InputError(f"data.kind {config.kind!r} is not one of {', '.join(_READERS)}")
    if config.task not in _TASKS[config.kind]:
        raise InputError(
            f"data.kind={config.kind} serves {' or '.join(_TASKS[config.kind])}, "
            f"and data.task is {config.task!r}"
        )


def _read_folders(config: DataConfig, files: ChipsConfig) -> ChipDataset:
    folder = needed(files.folder, "folder", config)
    return ChipDataset.from_folders(folder, classes=config.classes, **reading_options(config))


def _read_pairs(config: DataConfig, files: ChipsConfig) -> ChipDataset:
    return ChipDataset.from_pairs(
        needed(files.images, "images", config),
        files.masks,
        classes=config.classes,
        label_map=config.label_map,
        mask_layer=config.mask_layer,
        tile=config.tile,
        task=cast("Task", config.task),
        **reading_options(config),
    )


def _read_images(config: DataConfig, files: ChipsConfig) -> ChipDataset:
    images = needed(files.images, "images", config)
    return ChipDataset.from_images(images, tile=config.tile, **reading_options(config))


def _read_table(config: DataConfig, files: ChipsConfig) -> ChipDataset:
    return ChipDataset.from_table(
        needed(files.table, "table", config),
        image_column=config.image_column,
        label_column=config.label_column,
        group_column=config.group_column,
        classes=config.classes,
        task=cast("Task", config.task),
        multi_label=config.multi_label,
        **reading_options(config),
    )


def _read_records(config: DataConfig, files: ChipsConfig) -> ChipDataset:
    return ChipDataset.from_records(
        needed(files.folder, "folder", config),
        record=config.record,
        label_key=config.label_column,
        group_key=config.group_column,
        classes=config.classes,
        task=cast("Task", config.task),
        multi_label=config.multi_label,
        **reading_options(config),
    )


def _read_geobench(config: DataConfig, files: ChipsConfig) -> ChipDataset:
    return geobench_chips(
        needed(files.images, "images", config),
        split=files.split,
        mask_item=files.masks,
        label_column=config.label_column,
        group_column=config.group_column,
        classes=config.classes,
        label_map=config.label_map,
        task=cast("Task", config.task),
        multi_label=config.multi_label,
        tile=config.tile,
        **reading_options(config),
    )


def _read_torchgeo(config: DataConfig, files: ChipsConfig) -> ChipDataset:
    chosen = config.torchgeo
    if chosen.name is None:
        raise InputError("data.kind=torchgeo needs data.torchgeo.name, such as EuroSATSpatial")
    options = dict(chosen.options)
    if chosen.split_option is not None and files.split is not None:
        options[chosen.split_option] = files.split
    return torchgeo_chips(
        open_torchgeo(chosen.name, options),
        sensor=config.sensor,
        bands=config.bands,
        drop_bands=config.drop_bands,
        processing_baseline=config.processing_baseline,
        scale=config.scale,
        offset=config.offset,
        classes=config.classes,
        label_map=config.label_map,
        task=cast("Task", config.task),
        multi_label=config.multi_label,
        image_key=chosen.image_key,
        target_key=chosen.target_key,
        tile=config.tile,
        chip_size=config.chip_size,
        cache=config.cache,
        prefix=f"{files.split}/" if files.split else "",
    )


def reading_options(config: DataConfig) -> dict[str, Any]:
    """Arguments of every constructor of `ChipDataset` that reads files."""
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


def needed(value: str | None, name: str, config: DataConfig) -> str:
    """The value of an entry that the kind needs.

    Raises:
        InputError: If it is not there.
    """
    if not value:
        raise InputError(
            f"data.kind={config.kind} needs {name} for each split that has files of its own"
        )
    return value


_READERS: dict[str, Callable[[DataConfig, ChipsConfig], ChipDataset]] = {
    "folders": _read_folders,
    "pairs": _read_pairs,
    "images": _read_images,
    "table": _read_table,
    "records": _read_records,
    "torchgeo": _read_torchgeo,
    "geobench": _read_geobench,
}
_TASKS = {
    "folders": ("scene-classification",),
    "pairs": ("semantic-segmentation", "regression"),
    "images": ("similarity-search",),
    "table": ("scene-classification", "regression"),
    "records": ("scene-classification", "regression"),
    "torchgeo": ("scene-classification", "semantic-segmentation", "regression"),
    "geobench": ("scene-classification", "semantic-segmentation", "regression"),
}
