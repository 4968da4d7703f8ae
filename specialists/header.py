"""The one metadata entry of a weight file: the spec of its network, as sorted JSON.

One entry, because safetensors writes several in random order, and two saves of the same weights
should be the same bytes. Nothing here needs torch, so that many files can be listed quickly.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from sensors.errors import InputError
from specialists.spec import SpecialistSpec

FORMAT = 1
METADATA_KEY = "specialist"

Spec = TypeVar("Spec")


def encode_header(spec: SpecialistSpec) -> dict[str, str]:
    """Metadata of a specialist's file."""
    return encode_record(METADATA_KEY, spec.to_dict())


def decode_header(metadata: Mapping[str, str] | None, path: Path) -> SpecialistSpec:
    """The spec in the metadata of a specialist's file, which may come from anywhere.

    Args:
        metadata: What the file's header holds under `__metadata__`.
        path: The file, for messages.

    Raises:
        InputError: If it is not what `encode_header` writes.
    """
    return decode_record(metadata, METADATA_KEY, SpecialistSpec.from_dict, path)


def encode_record(key: str, spec: dict[str, Any]) -> dict[str, str]:
    """Metadata of a safetensors file: one entry of this key, with a spec as plain data."""
    record = {"format": FORMAT, "spec": spec}
    return {key: json.dumps(record, sort_keys=True, separators=(",", ":"), allow_nan=False)}


def decode_record(
    metadata: Mapping[str, str] | None,
    key: str,
    from_dict: Callable[[dict[str, Any]], Spec],
    path: Path,
    advice: str = "",
) -> Spec:
    """The spec in the metadata of a safetensors file, which may come from anywhere.

    Args:
        metadata: What the file's header holds under `__metadata__`.
        key: Of the one entry: what kind of file it is.
        from_dict: Makes a spec of plain data, or raises `InputError`.
        path: The file, for messages.
        advice: What to do where the key is another one.

    Raises:
        InputError: If it is not what `encode_record` writes.
    """
    metadata = metadata or {}
    if set(metadata) != {key}:
        raise InputError(
            f"{path}: the header has the metadata keys {sorted(metadata)}, expected the one key "
            f"{key!r}{advice}"
        )
    try:
        record = json.loads(metadata[key])
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: the header's {key!r} is not JSON: {error}") from error
    if not isinstance(record, dict) or set(record) != {"format", "spec"}:
        raise InputError(f"{path}: the header's {key!r} does not hold a format and a spec")
    if record["format"] != FORMAT:
        raise InputError(
            f"{path}: written in format {record['format']!r}, this version reads format {FORMAT}"
        )
    try:
        return from_dict(record["spec"])
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
