"""Looking at a weight file before a library opens it: only its header, whatever the file claims."""

import json
from pathlib import Path
from typing import Any

from sensors.errors import InputError

# An Atto's header takes 20 kB. The format's own limit of 100 MB would let a file exhaust memory.
HEADER_LIMIT = 4 * 2**20


def read_metadata(path: Path) -> dict[str, str]:
    """Metadata of a safetensors file whose sizes add up.

    The format (https://huggingface.co/docs/safetensors): 8 bytes with the length of the header,
    little-endian; the header, a JSON object of tensor name to dtype, shape and offsets; the
    tensors' bytes, without gaps, to the end of the file.

    Raises:
        InputError: If the file is truncated, has bytes to spare, claims a header over
            `HEADER_LIMIT`, or is not safetensors at all.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        header_size = int.from_bytes(file.read(8), "little")
        if header_size > HEADER_LIMIT:
            raise InputError(
                f"{path}: it claims a header of {header_size} bytes, over the limit of "
                f"{HEADER_LIMIT}; it is not safetensors, or not weights that were saved here"
            )
        encoded = file.read(header_size)
    header = _decode(path, encoded)
    metadata: dict[str, str] = header.pop("__metadata__", {})
    try:
        data_size = max((entry["data_offsets"][1] for entry in header.values()), default=0)
        described = 8 + header_size + data_size
    except (TypeError, KeyError, IndexError) as error:
        raise InputError(f"{path}: its header describes no tensors; not safetensors") from error
    if described != size:
        raise InputError(
            f"{path}: it has {size} bytes and its header describes {described}; "
            "it is truncated, or something was appended: fetch or export it again"
        )
    return metadata


def _decode(path: Path, encoded: bytes) -> dict[str, Any]:
    try:
        header = json.loads(encoded)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: its header is not JSON; truncated or not safetensors") from error
    if not isinstance(header, dict):
        raise InputError(f"{path}: its header is not a JSON object; not safetensors")
    metadata = header.get("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise InputError(f"{path}: its metadata is not an object of strings; not safetensors")
    return header
