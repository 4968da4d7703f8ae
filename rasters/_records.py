"""Finding labelled scenes that lie in a folder each, beside a JSON record."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rasters._labels import with_classes, with_values
from rasters._samples import Sample
from sensors.errors import InputError


def samples_from_records(
    root: Path,
    *,
    record: str,
    label_keys: Sequence[str],
    group_key: str | None,
    classes: Sequence[str] | None,
    multi_label: bool,
    numbers: bool,
) -> tuple[list[Sample], tuple[str, ...]]:
    """Samples of the folders below `root` that hold a record, and the classes.

    Args:
        root: Folder of the scenes' folders, at any depth.
        record: Name of the record in each of them.
        label_keys: Key of the record that holds a label or a list of labels, or keys of numbers.
        group_key: Key that names the scene's group.
        classes: Names in order; None for all labels that occur.
        multi_label: A scene may have several labels.
        numbers: Labels are numbers.

    Raises:
        InputError: If no folder has a record, one cannot be read or lacks a key, or a label is not
            among the classes or not a number.
    """
    files = sorted(root.rglob(record))
    if not files:
        raise InputError(f"{root}: no {record} in the folders below, expected one for each scene")
    keys = [*label_keys, *([] if group_key is None else [group_key])]
    records = [_read(file, keys) for file in files]
    samples = [
        Sample(
            file.parent.relative_to(root).as_posix(),
            (file.parent,),
            group=None if group_key is None else str(own[group_key]),
        )
        for file, own in zip(files, records, strict=True)
    ]
    cells = [[own[key] for key in label_keys] for own in records]
    if numbers:
        return with_values(root, samples, cells), tuple(label_keys)
    words = [[str(word) for word in _as_list(own[0])] for own in cells]
    return with_classes(root, samples, words, classes, multi_label=multi_label)


def _read(file: Path, keys: Sequence[str]) -> dict[str, Any]:
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{file}: cannot be read as JSON ({error})") from error
    if not isinstance(record, dict):
        raise InputError(f"{file}: expected a JSON object, got {type(record).__name__}")
    missing = [key for key in keys if record.get(key) is None]
    if missing:
        raise InputError(f"{file}: no {', '.join(missing)}; its keys are {', '.join(record)}")
    return record


def _as_list(value: object) -> list[Any]:
    return value if isinstance(value, list) else [value]
