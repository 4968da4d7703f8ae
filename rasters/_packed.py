"""Files inside a tortilla, found by path as if it were a folder: `scenes.tortilla/sample_3/s2`.

A tortilla (https://tacofoundation.github.io, version 1 of the format; GEO-Bench-2 is published as
such files) is: `#y`, or `WX` where it also tells of the collection; the offset and the length of
the footer, 8 bytes each, little-endian; the items, one after another; and the footer, a Parquet
table with a row for each item. An item may be a tortilla itself, whose offsets count from its own
first byte. Nothing in it is executable: no pickle, no code.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

from sensors.errors import InputError

SUFFIXES = (".tortilla", ".taco")

_MAGIC = (b"#y", b"WX")
_HEADER = 18
_IMAGE_FORMATS = ("GTIFF", "COG", "PNG", "JPEG", "JP2OPENJPEG")  # GDAL's names, in capitals


@dataclass(frozen=True)
class PackedFile:
    """A stretch of bytes in a file.

    Args:
        container: The file.
        offset, length: Where in it, in bytes.
        format: GDAL's name of the format, or `TORTILLA`.
    """

    container: Path
    offset: int
    length: int
    format: str

    @classmethod
    def whole(cls, container: Path) -> Self:
        """A tortilla that is a file of its own."""
        return cls(container, 0, container.stat().st_size, "TORTILLA")

    @property
    def is_folder(self) -> bool:
        """Whether it holds further items."""
        return self.format.upper() == "TORTILLA"

    @property
    def is_image(self) -> bool:
        """Whether it is an image."""
        return self.format.upper() in _IMAGE_FORMATS

    @property
    def gdal_name(self) -> str:
        """What GDAL calls it."""
        return f"/vsisubfile/{self.offset}_{self.length},{self.container.absolute()}"

    def read(self) -> bytes:
        """All its bytes."""
        with self.container.open("rb") as file:
            file.seek(self.offset)
            return file.read(self.length)

    def items(self) -> dict[str, "PackedFile"]:
        """The items of a tortilla by id.

        Raises:
            InputError: If it is damaged, or two items have one id.
        """
        return _items(self, self.container.stat().st_mtime_ns)

    def table(self) -> list[dict[str, Any]]:
        """The footer of a tortilla: what is told of each item.

        Raises:
            InputError: If it is damaged.
        """
        # Imported here: only who opens such a file waits for it.
        from pyarrow import ArrowException, BufferReader
        from pyarrow.parquet import read_table

        with self.container.open("rb") as file:
            file.seek(self.offset)
            header = file.read(_HEADER)
            start, length = (int.from_bytes(header[at : at + 8], "little") for at in (2, 10))
            file.seek(self.offset + start)
            footer = file.read(length) if start + length <= self.length else b""
        if header[:2] not in _MAGIC or not footer:
            raise InputError(f"{self.container}: not a tortilla, or truncated")
        try:
            rows: list[dict[str, Any]] = read_table(BufferReader(footer)).to_pylist()
        except (ArrowException, OSError) as error:
            raise InputError(f"{self.container}: its index cannot be read ({error})") from error
        return rows


@lru_cache(maxsize=4096)  # a sample is opened for its image and its mask
def _items(folder: PackedFile, _changed: int) -> dict[str, PackedFile]:
    found: dict[str, PackedFile] = {}
    for row in folder.table():
        try:
            name, offset, length, kind = (
                row[f"tortilla:{key}"] for key in ("id", "offset", "length", "file_format")
            )
        except KeyError as error:
            raise InputError(f"{folder.container}: its index has no column {error}") from error
        if offset < 0 or offset + length > folder.length:
            raise InputError(f"{folder.container}: item {name} reaches beyond the file")
        if name in found:
            raise InputError(f"{folder.container}: two items are called {name}")
        found[str(name)] = PackedFile(folder.container, folder.offset + offset, length, kind)
    return found


def find_packed(path: Path) -> PackedFile | None:
    """The item that a path into a tortilla means; None for any other path.

    Raises:
        InputError: If the tortilla has no such item.
    """
    if not any(part.endswith(SUFFIXES) for part in path.parts):
        return None
    container = next((parent for parent in path.parents if parent.is_file()), None)
    if container is None:
        return None
    packed = PackedFile.whole(container)
    for name in path.relative_to(container).parts:
        items = packed.items() if packed.is_folder else {}
        if name not in items:
            raise InputError(f"{path}: no item {name!r}; there are {', '.join(items) or 'none'}")
        packed = items[name]
    return packed
