"""The compiled form of a specialist: two more files beside its weights, on the same card."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from registry.checksum import check_sha256, encode_checksum
from registry.item import asset_sha256, blob_href
from registry.stac import PREFIX, expect
from sensors.errors import InputError
from specialists.compiled_tools import PRECISIONS

if TYPE_CHECKING:
    from registry.card import SpecialistCard
    from registry.store import Store

GRAPH, CONSTANTS = "graph", "graph-constants"
"""Names of the assets."""
SUFFIXES = {GRAPH: ".xml", CONSTANTS: ".bin"}
"""Of the files; OpenVINO tells them apart by it."""
_FIELD = PREFIX + "variant"
_TITLES = {GRAPH: "Graph of OpenVINO", CONSTANTS: "Constants of the graph"}
_TYPES = {GRAPH: "application/xml", CONSTANTS: "application/octet-stream"}
_KINDS = {"precision": str, "versions": dict, "calibration": dict, "scores": dict}


@dataclass(frozen=True)
class Blob:
    """A file of the store.

    Args:
        sha256: Hexadecimal hash.
        size: Bytes.
    """

    sha256: str
    size: int


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A specialist compiled for OpenVINO, see `specialists.compiled`.

    Args:
        precision: One of `PRECISIONS`.
        graph, constants: Its files.
        versions: Of the tools that made it.
        calibration: By which chips ranges were chosen: name and hash of the data, and how many.
        scores: On the same data: main metric, and the score before and after.

    Raises:
        InputError: If a value cannot be.
    """

    precision: str
    graph: Blob
    constants: Blob
    versions: Mapping[str, str] = field(default_factory=dict)
    calibration: Mapping[str, Any] = field(default_factory=dict)
    scores: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise InputError(
                f"variant of precision {self.precision!r}, expected {' or '.join(PRECISIONS)}"
            )
        for blob in self.blobs.values():
            check_sha256(blob.sha256)

    @property
    def blobs(self) -> dict[str, Blob]:
        """Its files, by the names of the assets."""
        return {GRAPH: self.graph, CONSTANTS: self.constants}

    def to_properties(self) -> dict[str, Any]:
        """The fields of a STAC Item that say what it is, JSON-plain."""
        record: dict[str, Any] = {"precision": self.precision}
        for name in ("versions", "calibration", "scores"):
            record[name] = dict(getattr(self, name))
        return {_FIELD: record}

    def to_assets(self) -> dict[str, Any]:
        """The assets of a STAC Item that are its files."""
        model: dict[str, Any] = {
            "roles": ["mlm:model", "mlm:compiled", "data"],
            "mlm:artifact_type": "openvino.ir",
        }
        roles: dict[str, dict[str, Any]] = {
            GRAPH: model,
            CONSTANTS: {"roles": ["mlm:weights", "data"]},
        }
        return {
            name: {
                "title": f"{_TITLES[name]} ({self.precision})",
                "href": blob_href(blob.sha256, SUFFIXES[name]),
                "type": _TYPES[name],
                **roles[name],
                "file:checksum": encode_checksum(blob.sha256),
                "file:size": blob.size,
            }
            for name, blob in self.blobs.items()
        }

    @classmethod
    def from_stac_item(cls, item: Mapping[str, Any]) -> "Variant | None":
        """Read it back from a card, which may come from anywhere; None where there is none.

        Raises:
            InputError: If a field is missing or malformed.
        """
        properties = expect(item, "properties", dict)
        if _FIELD not in properties:
            return None
        record = expect(properties, _FIELD, dict)
        if set(record) != set(_KINDS):
            raise InputError(f"card field {_FIELD} is described by {', '.join(_KINDS)}")
        blobs = {
            name: Blob(
                asset_sha256(item, name, suffix), expect(item["assets"][name], "file:size", int)
            )
            for name, suffix in SUFFIXES.items()
        }
        return cls(
            graph=blobs[GRAPH],
            constants=blobs[CONSTANTS],
            **{name: expect(record, name, kind) for name, kind in _KINDS.items()},
        )


def check_variant(store: "Store", card: "SpecialistCard") -> dict[str, Path]:
    """The files of a card's compiled form by the names of its assets; none where it has none.

    Their bytes are those that the card states. What they hold is looked at when they are loaded,
    which needs OpenVINO.

    Raises:
        InputError: If one is not there, was changed or damaged, or is of another size.
    """
    files = {}
    for name, blob in (card.variant.blobs if card.variant else {}).items():
        try:
            path = files[name] = store.read_blob(blob.sha256, SUFFIXES[name])
        except InputError as error:
            raise InputError(f"asset {name}: {error}") from error
        size = path.stat().st_size
        if size != blob.size:
            raise InputError(
                f"{store.card_path(card.reference)}: the card contradicts its asset {name}: "
                f"{blob.size} bytes are stated, and there are {size}; restore the card"
            )
    return files
