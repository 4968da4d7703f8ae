"""The folder of results: a file for everything that is finished, so that a kill loses nothing.

    OUT/
      cells/          a JSON record of each cell, and its predictions beside it (.npz)
      data/           a record of each data set
      encoders/       a record of each encoder
      efficiency/     the cost of each encoder on each data set
      protocols/      a record of each protocol
      examples/       maps of test chips, for the report
      features/       the cache, which may be deleted at any time
      results.json, results.csv, results.parquet, report.html

Every file appears at once and whole.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sensors import InputError
from specialists.run import write_json

FORMAT = 1
"""Version of the records; those of another version are not read."""


@dataclass(frozen=True)
class ResultsFolder:
    """Where an evaluation writes, and finds what it has done already.

    Args:
        path: The folder; made when something is written.
    """

    path: Path

    def __post_init__(self) -> None:
        if self.path.exists() and not self.path.is_dir():
            raise InputError(f"out {self.path} is a file; give a folder")

    @property
    def results(self) -> Path:
        """Everything in one JSON file."""
        return self.path / "results.json"

    @property
    def report(self) -> Path:
        """The page."""
        return self.path / "report.html"

    @property
    def features(self) -> Path:
        """The cache of features, unless another was named."""
        return self.path / "features"

    def file(self, kind: str, *names: str, suffix: str = ".json") -> Path:
        """Path of a record, readable and unique for its names."""
        # No name holds the separator itself.
        safe = [quote(name, safe=" @+,=").replace("--", "-%2D") for name in names]
        stem = "--".join(safe)
        return self.path / kind / f"{stem}{suffix}"

    def write(self, kind: str, *names: str, content: Mapping[str, Any]) -> None:
        """Write a record at once and whole."""
        path = self.file(kind, *names)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, {"format": FORMAT, **content})

    def read(self, kind: str, *names: str) -> dict[str, Any] | None:
        """A record, or None where there is none of this version.

        Raises:
            InputError: If the file is damaged.
        """
        path = self.file(kind, *names)
        return _read(path) if path.exists() else None

    def read_all(self, kind: str) -> Iterator[dict[str, Any]]:
        """Every record of a kind, in the order of their names.

        Raises:
            InputError: If a file is damaged.
        """
        for path in sorted((self.path / kind).glob("*.json")):
            record = _read(path)
            if record is not None:
                yield record


def _read(path: Path) -> dict[str, Any] | None:
    try:
        record = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is damaged ({error}); delete it and run again") from error
    return record if isinstance(record, dict) and record.get("format") == FORMAT else None
