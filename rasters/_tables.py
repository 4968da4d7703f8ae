"""Finding labelled scenes in the rows of a CSV table."""

import csv
from collections.abc import Sequence
from pathlib import Path

from rasters._labels import with_classes, with_values
from rasters._samples import Sample
from sensors.errors import InputError


def samples_from_table(
    table: Path,
    root: Path,
    *,
    image_column: str,
    label_columns: Sequence[str],
    group_column: str | None,
    classes: Sequence[str] | None,
    separator: str | None,
    numbers: bool,
) -> tuple[list[Sample], tuple[str, ...]]:
    """Samples of a CSV table's rows, and the classes (for numbers, the columns).

    Args:
        table: The file.
        root: Folder that its file names are relative to.
        image_column: Column of files.
        label_columns: Column of labels, or columns of numbers.
        group_column: Column of groups.
        classes: Names in order; None for all labels that occur.
        separator: Between the labels of one scene; None if it has one label.
        numbers: Labels are numbers.

    Raises:
        InputError: If a column or file is missing, or a label is not among the classes or not a
            number.
    """
    columns = [image_column, *label_columns]
    rows = _read_table(table, columns if group_column is None else [*columns, group_column])
    samples = [
        Sample(
            row[image_column],
            _sources_of_cell(table, root, row[image_column]),
            group=row[group_column] if group_column else None,
        )
        for row in rows
    ]
    cells = [[row[column] for column in label_columns] for row in rows]
    if numbers:
        return with_values(table, samples, cells), tuple(label_columns)
    words = [_words(own[0], separator) for own in cells]
    return with_classes(table, samples, words, classes, multi_label=separator is not None)


def _words(cell: str, separator: str | None) -> list[str]:
    parts = [cell] if separator is None else cell.split(separator)
    return [word.strip() for word in parts if word.strip()]


def _read_table(table: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    try:
        with table.open(newline="", encoding="utf-8-sig") as lines:
            reader = csv.DictReader(lines)
            rows = list(reader)
            header = reader.fieldnames or ()
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{table}: cannot be read as a CSV table ({error})") from error
    missing = [column for column in columns if column not in header]
    if missing:
        raise InputError(
            f"{table}: no column {', '.join(missing)}; the columns are {', '.join(header)}"
        )
    if not rows:
        raise InputError(f"{table}: the table has no row")
    return [{column: (row[column] or "").strip() for column in columns} for row in rows]


def _sources_of_cell(table: Path, root: Path, cell: str) -> tuple[Path, ...]:
    sources = tuple(root / name.strip() for name in cell.split(";") if name.strip())
    absent = next((source for source in sources if not source.exists()), None)
    if absent is not None or not sources:
        raise InputError(f"{table}: the row {cell!r} names no existing file ({absent or 'empty'})")
    return sources
