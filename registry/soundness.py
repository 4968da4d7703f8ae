"""Whether a weight file is the one that a card describes."""

from pathlib import Path
from typing import Any

from registry.card import SpecialistCard
from registry.kinds import Card
from registry.weights import read_metadata
from sensors.errors import InputError
from specialists.header import decode_header, decode_record


def find_contradiction(card: Card, weights: Path) -> str | None:
    """What a card states of its weights that is not so; None where it is right.

    Of an ensemble's file the size alone is looked at: what it holds follows from its manifest.

    Args:
        card: Of the model.
        weights: Its file, of which only the header is read.

    Raises:
        InputError: If the file is not that of a model of this kind.
    """
    size = weights.stat().st_size
    if size != card.size:
        return f"{card.size} bytes are stated, and there are {size}"
    metadata = read_metadata(weights)
    if isinstance(card, SpecialistCard):
        stated, held = card.spec.to_dict(), decode_header(metadata, weights).to_dict()
    elif card.kind == "trunk":
        stated, held = dict(card.spec), decode_record(metadata, card.kind, _plain, weights)
    else:
        return None
    for name in [*stated, *held]:
        if stated.get(name) != held.get(name):
            return f"{name} is stated as {stated.get(name)!r:.200}, and is {held.get(name)!r:.200}"
    return None


def _plain(record: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(record, dict):
        raise InputError(f"a spec is a dictionary, got {type(record).__name__}")
    return record
