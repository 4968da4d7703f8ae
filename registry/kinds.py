"""The kinds of models that a registry holds, and the card of each."""

from collections.abc import Mapping
from typing import Any

from registry.card import KIND, SpecialistCard
from registry.model_card import MODEL_KINDS, ModelCard
from registry.stac import PREFIX, expect
from sensors.errors import InputError

SPECIALIST = KIND
KINDS = (SPECIALIST, *MODEL_KINDS)

Card = SpecialistCard | ModelCard


def kind_of(card: Card) -> str:
    """One of `KINDS`."""
    return card.kind if isinstance(card, ModelCard) else SPECIALIST


def check_kind(kind: str | None) -> str | None:
    """Return `kind` if it is one of `KINDS`, or None, which stands for all of them.

    Raises:
        InputError: If it is not.
    """
    if kind is not None and kind not in KINDS:
        raise InputError(f"there is no kind {kind!r} of model; there are {', '.join(KINDS)}")
    return kind


def card_from_item(item: Mapping[str, Any]) -> Card:
    """The card that a STAC Item is, which may come from anywhere.

    Raises:
        InputError: If its kind is unknown, a field is missing or malformed, or two contradict each
            other.
    """
    kind = expect(item, "properties", dict).get(PREFIX + "kind")
    if kind not in KINDS:
        raise InputError(f"card of kind {kind!r}, expected one of {', '.join(KINDS)}")
    return (SpecialistCard if kind == SPECIALIST else ModelCard).from_stac_item(item)
