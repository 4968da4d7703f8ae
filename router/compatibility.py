"""What a user should hear when specialists are put together, though nothing of it is an error."""

import logging
import re
from collections.abc import Iterator, Sequence

from registry import SpecialistCard
from registry.licenses import UNSTATED, holds_back
from router.manifest import Pin
from router.trunk import Trunk

logger = logging.getLogger(__name__)

_COPYLEFT = re.compile(r"^(A?GPL|.*-SA-|CC-BY-NC-SA)", re.IGNORECASE)


def report_doubts(cards: Sequence[SpecialistCard], trunk: tuple[Trunk, Pin] | None) -> None:
    """Log every doubt, and members whose place in the trunk's space is not known.

    Args:
        cards: Of the members.
        trunk: The ensemble's trunk and which one it is, if it has one.
    """
    for doubt in doubts(cards):
        logger.warning("%s", doubt)
    if trunk is None:
        return
    unknown = [str(card.reference) for card in cards if not card.prototypes]
    if unknown:
        logger.warning(
            "%s: no prototype in the space of %s, so the gate knows bands, ground sample distance "
            "and task of these members and nothing of what they saw; register them with --trunk %s",
            ", ".join(unknown),
            trunk[1].reference,
            trunk[1].reference,
        )


def doubts(cards: Sequence[SpecialistCard]) -> tuple[str, ...]:
    """Contradictions between the licences, and between the classes, of specialists."""
    return (*_about_licenses(cards), *_about_classes(cards))


def _about_licenses(cards: Sequence[SpecialistCard]) -> Iterator[str]:
    unstated = [str(card.reference) for card in cards if card.license == UNSTATED]
    stated = {card.license for card in cards if card.license != UNSTATED}
    if unstated and stated:
        yield (
            f"the licence of {', '.join(unstated)} is not stated, so the ensemble cannot be "
            f"shared, though other members may be ({', '.join(sorted(stated))})"
        )
    bound = sorted(license for license in stated if _COPYLEFT.match(license))
    others = stated - set(bound)
    if len(bound) > 1 or (bound and others):
        yield (
            f"the licences {', '.join(sorted(stated))} stand together, and "
            f"{', '.join(bound)} asks what is made from it to keep its terms: find out whether "
            "the ensemble may be shared, and under which"
        )
    held = [str(card.reference) for card in cards if holds_back(card.data_license)]
    if held and len(held) < len(cards):
        yield (
            f"{', '.join(held)} learned from data whose licence speaks against publishing, and the "
            "other members did not: the ensemble inherits it"
        )


def _about_classes(cards: Sequence[SpecialistCard]) -> Iterator[str]:
    for number, card in enumerate(cards):
        for other in cards[number + 1 :]:
            if card.spec.task != other.spec.task or card.spec.classes == other.spec.classes:
                continue
            shared = set(card.spec.classes) & set(other.spec.classes)
            if len(shared) < 2:
                continue
            yield (
                f"{card.reference} and {other.reference} do the same task on classes that agree in "
                f"part ({', '.join(sorted(shared)[:5])}) and differ in order or in the rest: the "
                "ensemble takes their features, never their answers"
            )
