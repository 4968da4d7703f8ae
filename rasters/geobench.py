"""GEO-Bench-2's data sets as chips, read from the `.tortilla` files they are published as."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Unpack

from rasters._file_chips import FileChips
from rasters._labels import with_classes, with_values
from rasters._masks import MaskReader, choose_classes
from rasters._packed import PackedFile
from rasters._samples import Sample
from rasters._tiles import labelled_tiles
from rasters.chips import ChipDataset, Task
from rasters.read import ReadOptions
from sensors.errors import InputError

_SPLIT = "tortilla:data_split"


def geobench_chips(
    files: str | Path,
    *,
    split: str | None = None,
    mask_item: str | None = None,
    label_column: str | Sequence[str] = "labels",
    group_column: str | None = None,
    classes: Sequence[str] | None = None,
    label_map: Mapping[int, str] | None = None,
    task: Task = "scene-classification",
    multi_label: bool = False,
    tile: int | None = None,
    chip_size: int | None = None,
    cache: bool = False,
    **reading: Unpack[ReadOptions],
) -> ChipDataset:
    """Chips of a data set in one or several tortillas, each of which holds a sample's files.

    An item of a sample is one or several bands: by its id where that is a band's name (`B04`), by
    what the file says, or by `layers`, which names the layers by the item's id
    (`{"s2": ["B01", ...]}`). Items of which no layer is a band of the sensor are left out.

    Args:
        files: A `.tortilla` file, or a pattern with `*` where there are several parts.
        split: Which split, as the files call it: `train`, `validation` or `test`; all if not given.
        mask_item: Id of the item that is the mask; None for labels of whole scenes.
        label_column: Column of the index with the label, or list of labels, of a scene; for a
            regression one or several columns of numbers.
        group_column: Column that says which chips belong together.
        classes: Names in the order wanted, see `ChipDataset.from_table` and `from_pairs`.
        label_map: For masks: stored number to class name; other numbers are ignored.
        task: What the labels are for.
        multi_label: A scene may have several labels.
        tile: Cut images with masks into squares of this side.
        chip_size: Centre-crop or pad every chip to this side.
        cache: Keep every chip in memory once it was read.
        reading: Arguments of `open_raster`.

    Raises:
        InputError: If there is no such file, split, item or column, or a label is not among the
            classes.
    """
    samples, rows = _find_samples(Path(files), split)
    if group_column is not None:
        groups = _columns(files, rows, [group_column])
        samples = [replace(s, group=str(own[0])) for s, own in zip(samples, groups, strict=True)]
    masks = None
    if mask_item is not None:
        named = choose_classes(classes, label_map, None)
        masks = MaskReader(
            named,
            label_map=None if label_map is None else dict(label_map),
            values=task == "regression",
            resample=reading.get("gsd") is not None,
            same_grid=reading.get("same_grid", False),
        )
        samples = [replace(sample, mask=sample.sources[0] / mask_item) for sample in samples]
        if tile is not None:
            samples = labelled_tiles(samples, masks, tile, tile, reading)
    elif task == "regression":
        named = (label_column,) if isinstance(label_column, str) else tuple(label_column)
        samples = with_values(Path(files), samples, _columns(files, rows, named))
    else:
        cells = [own[0] for own in _columns(files, rows, [str(label_column)])]
        words = [
            [str(w) for w in cell] if isinstance(cell, list) else [str(cell)] for cell in cells
        ]
        samples, named = with_classes(Path(files), samples, words, classes, multi_label=multi_label)
    source = FileChips(samples, masks=masks, chip_size=chip_size, reading=reading)
    return ChipDataset(source, classes=named, task=task, multi_label=multi_label, cache=cache)


def _find_samples(files: Path, split: str | None) -> tuple[list[Sample], list[dict[str, Any]]]:
    """The samples of a split, sorted by id, and what the index says of each."""
    containers = sorted(files.parent.glob(files.name))
    if not containers:
        raise InputError(f"{files}: no such file; expected one or several ending in .tortilla")
    found = [
        (f"{container.name}/{row['tortilla:id']}", container / str(row["tortilla:id"]), row)
        for container in containers
        for row in PackedFile.whole(container).table()
    ]
    splits = {str(row.get(_SPLIT)) for *_, row in found}
    if split is not None and split not in splits:
        raise InputError(
            f"{files}: no split is called {split!r}; there are {', '.join(sorted(splits))}"
        )
    chosen = [(name, place, row) for name, place, row in found if split in (None, row.get(_SPLIT))]
    chosen.sort(key=lambda sample: sample[0])
    return [Sample(name, (place,)) for name, place, _ in chosen], [row for *_, row in chosen]


def _columns(
    files: str | Path, rows: Sequence[Mapping[str, Any]], names: Sequence[str]
) -> list[list[Any]]:
    missing = [name for name in names if any(row.get(name) is None for row in rows)]
    if missing:
        known = ", ".join(rows[0])
        raise InputError(f"{files}: not every sample has {', '.join(missing)}; columns: {known}")
    return [[row[name] for name in names] for row in rows]
