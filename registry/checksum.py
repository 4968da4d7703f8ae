"""SHA-256 of weight files, and how a STAC Item states it."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sensors.errors import InputError

_SHA256_MULTIHASH = "1220"  # https://multiformats.io/multihash: 0x12 is SHA-256, 0x20 its 32 bytes
_DIGITS = set("0123456789abcdef")


def file_sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_sha256(sha256: object) -> str:
    """Return `sha256` if it is a SHA-256 in lower-case hexadecimal.

    Raises:
        InputError: If it is not.
    """
    if not isinstance(sha256, str) or len(sha256) != 64 or set(sha256) - _DIGITS:
        raise InputError(f"{sha256!r} is not a SHA-256 in lower-case hexadecimal")
    return sha256


def encode_checksum(sha256: str) -> str:
    """`file:checksum` of the STAC file extension: a multihash in hexadecimal."""
    return _SHA256_MULTIHASH + sha256


def decode_checksum(checksum: object) -> str:
    """Hexadecimal SHA-256 in a `file:checksum`.

    Raises:
        InputError: If it is not a SHA-256 multihash in lower-case hexadecimal.
    """
    if (
        not isinstance(checksum, str)
        or len(checksum) != len(_SHA256_MULTIHASH) + 64
        or not checksum.startswith(_SHA256_MULTIHASH)
        or set(checksum) - _DIGITS
    ):
        raise InputError(
            f"file:checksum {checksum!r} is not a SHA-256 multihash (1220 and 64 hex digits)"
        )
    return checksum.removeprefix(_SHA256_MULTIHASH)


def blob_hashes(card: Mapping[str, Any]) -> tuple[str, ...]:
    """Hexadecimal SHA-256 of every asset of a STAC Item.

    Raises:
        InputError: If it has no assets, or one without a SHA-256 checksum.
    """
    assets = card.get("assets")
    if not isinstance(assets, dict) or not all(isinstance(a, dict) for a in assets.values()):
        raise InputError(f"card {card.get('id')}: assets is not an object of objects")
    return tuple(decode_checksum(asset.get("file:checksum")) for asset in assets.values())
