"""The folder of one extraction: arrays on disk, and a record of how far they are filled.

    CACHE/KEY/
      record.json    format, columns, shapes, the chips, and how many rows are done
      <name>.npy     `pooled`, `targets`, `gate`, `level_0`, `level_1`, ...

The record is replaced as a whole, after the rows that it counts are on disk.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sensors import InputError

FORMAT = 2
_RECORD = "record.json"

Arrays = dict[str, NDArray[Any]]


class FeatureFiles:
    """The files of one extraction.

    Args:
        folder: Theirs alone.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def read_record(self) -> dict[str, Any] | None:
        """What is known of the rows there are; None where there are none yet.

        Raises:
            InputError: If the record is damaged or of another format.
        """
        path = self.folder / _RECORD
        if not path.exists():
            return None
        try:
            record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            found = record["format"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise self._damaged(error) from error
        if found != FORMAT:
            raise InputError(
                f"{self.folder} holds features in format {found}, and this version reads format "
                f"{FORMAT}: delete the folder, they are extracted anew"
            )
        return record

    def write_record(self, record: Mapping[str, Any], arrays: Arrays) -> None:
        """Bring the arrays to the disk, then the record that counts their rows."""
        for array in arrays.values():
            if isinstance(array, np.memmap):
                array.flush()
        part = self.folder / f".{_RECORD}"
        part.write_text(json.dumps({"format": FORMAT, **record}), encoding="utf-8")
        part.replace(self.folder / _RECORD)

    def create(self, shapes: Mapping[str, tuple[tuple[int, ...], str]]) -> Arrays:
        """New arrays by name, from shape and type."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return {
            name: np.lib.format.open_memmap(self._path(name), mode="w+", dtype=dtype, shape=shape)
            for name, (shape, dtype) in shapes.items()
        }

    def open(self, record: Mapping[str, Any], *, writable: bool = False) -> Arrays:
        """The arrays of a record, memory-mapped.

        Raises:
            InputError: If one is missing, truncated or of another shape.
        """
        arrays = {}
        try:
            for name, (shape, dtype) in record["arrays"].items():
                array = np.load(self._path(name), mmap_mode="r+" if writable else "r")
                if array.shape != tuple(shape) or array.dtype != dtype:
                    raise ValueError(f"{name} is {array.dtype} {array.shape}, not {dtype} {shape}")
                arrays[name] = array
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise self._damaged(error) from error
        return arrays

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.npy"

    def _damaged(self, error: Exception) -> InputError:
        return InputError(
            f"{self.folder} holds damaged features ({type(error).__name__}: {error}): delete the "
            "folder, they are extracted anew"
        )
