"""What the STAC Items of all kinds of models share: the frame, and assets that are blobs."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from registry.checksum import decode_checksum, encode_checksum
from registry.stac import expect
from sensors.bands import Channel
from sensors.errors import InputError

WEIGHTS = "weights"  # name of the asset that is the model's own
WEIGHTS_SUFFIX = ".safetensors"
_TYPE = "application/octet-stream; application=safetensors"


def now() -> str:
    """The time, RFC 3339 in UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def frame_item(
    identity: str,
    extensions: Sequence[str],
    properties: Mapping[str, Any],
    assets: Mapping[str, Any],
) -> dict[str, Any]:
    """A STAC 1.1 Item, JSON-plain.

    A model has no footprint that it would be found by, and what its training data cover is not
    recorded; so `geometry` is null, which STAC allows, and `datetime` is that of registration.
    """
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": list(extensions),
        "id": identity,
        "geometry": None,
        "properties": dict(properties),
        "links": [],
        "assets": dict(assets),
    }


def weights_asset(sha256: str, size: int, bands: Iterable[Channel]) -> dict[str, Any]:
    """The asset that is a model's own weight file.

    Args:
        sha256: Of the file.
        size: Of the file, in bytes.
        bands: That the Item describes.
    """
    asset = {
        "title": "Weights",
        "href": blob_href(sha256),
        "type": _TYPE,
        "roles": ["mlm:model", "mlm:weights", "data"],
        "mlm:artifact_type": "safetensors.torch.save_file",
        "file:checksum": encode_checksum(sha256),
        "file:size": size,
    }
    # STAC lets an Item describe bands only where one of its assets has them.
    names = [{"name": band.name} for band in bands]
    return asset | {"bands": names} if names else asset


def pinned_asset(label: str, sha256: str) -> dict[str, Any]:
    """An asset that is another model's weight file, at exactly one state."""
    return {
        "title": f"Weights of {label}",
        "href": blob_href(sha256),
        "type": _TYPE,
        "roles": ["data"],
        "file:checksum": encode_checksum(sha256),
    }


def asset_sha256(item: Mapping[str, Any], label: str, suffix: str = WEIGHTS_SUFFIX) -> str:
    """Hash of the blob that is an asset of an Item, which may come from anywhere.

    Args:
        item: The Item.
        label: Name of the asset.
        suffix: Of the blob's file.

    Raises:
        InputError: If there is no such asset, or it points elsewhere than its checksum.
    """
    asset = expect(expect(item, "assets", dict), label, dict)
    sha256 = decode_checksum(asset.get("file:checksum"))
    if asset.get("href") != blob_href(sha256, suffix):
        raise InputError(
            f"card {item.get('id')}: the href {asset.get('href')} is not that of its checksum"
        )
    return sha256


def integers(properties: Mapping[str, Any], name: str) -> tuple[int, ...]:
    """A field that holds a list of integers.

    Raises:
        InputError: If it does not.
    """
    values = expect(properties, name, list)
    if not all(type(value) is int for value in values):
        raise InputError(f"card field {name} holds {values!r}, expected a list of integers")
    return tuple(values)


def blob_href(sha256: str, suffix: str = WEIGHTS_SUFFIX) -> str:
    """Where a blob lies, as seen from a card."""
    return f"../../blobs/sha256/{sha256}{suffix}"
