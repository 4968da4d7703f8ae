"""The one metadata entry of a specialist's weight file: its spec, as sorted JSON.

One entry, because safetensors writes several in random order, and two saves of the same weights
should be the same bytes. Nothing here needs torch, so that many files can be listed quickly.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from sensors.errors import InputError
from specialists.spec import SpecialistSpec

FORMAT = 1
METADATA_KEY = "specialist"


def encode_header(spec: SpecialistSpec) -> dict[str, str]:
    """Metadata of a safetensors file."""
    record = {"format": FORMAT, "spec": spec.to_dict()}
    return {
        METADATA_KEY: json.dumps(record, sort_keys=True, separators=(",", ":"), allow_nan=False)
    }


def decode_header(metadata: Mapping[str, str] | None, path: Path) -> SpecialistSpec:
    """The spec in the metadata of a safetensors file, which may come from anywhere.

    Args:
        metadata: What the file's header holds under `__metadata__`.
        path: The file, for messages.

    Raises:
        InputError: If it is not what `encode_header` writes.
    """
    metadata = metadata or {}
    if set(metadata) != {METADATA_KEY}:
        raise InputError(
            f"{path}: the header has the metadata keys {sorted(metadata)}, a specialist's file has "
            f"the one key {METADATA_KEY!r}"
        )
    try:
        record = json.loads(metadata[METADATA_KEY])
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: the header's {METADATA_KEY!r} is not JSON: {error}") from error
    if not isinstance(record, dict) or set(record) != {"format", "spec"}:
        raise InputError(f"{path}: the header's {METADATA_KEY!r} does not hold a format and a spec")
    if record["format"] != FORMAT:
        raise InputError(
            f"{path}: written in format {record['format']!r}, this version reads format {FORMAT}"
        )
    try:
        return SpecialistSpec.from_dict(record["spec"])
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
