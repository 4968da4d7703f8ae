"""Whether a card meets the conditions of a search."""

from collections.abc import Sequence

from registry.kinds import Card
from registry.model_card import FEATURES, ModelCard
from registry.training_data import data_records
from sensors.bands import Channel
from sensors.plan import BandPlan

_NAMED_BY = ("name", "title")


def serves(
    card: Card, task: str | None, bands: Sequence[Channel] | None, gsd: float | None, factor: float
) -> bool:
    """Whether a model does a task, needs no more than these bands and is made for this GSD.

    A trunk, or an ensemble without a task, takes any bands and any GSD; its task is that of a
    backbone, `similarity-search`. A specialist with a wavelength-conditioned stem takes any bands
    of which it knows one.

    Args:
        card: Of the model.
        task: Its task.
        bands: Bands at hand.
        gsd: Ground sample distance at hand in metres.
        factor: How many times finer or coarser than `gsd` its own may be.
    """
    if isinstance(card, ModelCard):
        own_task, own_gsd = card.task or FEATURES, card.gsd
    else:
        own_task, own_gsd = card.spec.task, card.spec.gsd
    return (
        (task is None or own_task == task)
        and (gsd is None or own_gsd is None or 1 / factor <= own_gsd / gsd <= factor)
        and (bands is None or _takes(card, tuple(bands)))
    )


def _takes(card: Card, bands: tuple[Channel, ...]) -> bool:
    """Whether a model can run on these bands."""
    if isinstance(card, ModelCard):
        return not card.bands or BandPlan.match(card.bands, bands).is_applicable
    return card.spec.match(bands).is_applicable


def has_words(card: Card, words: Sequence[str]) -> bool:
    """Whether name, description, classes or training data have every one of these words.

    Args:
        card: Of the model.
        words: In lower case.
    """
    classes = card.classes if isinstance(card, ModelCard) else card.spec.classes
    data = [record.get(key) for record in data_records(card.training) for key in _NAMED_BY]
    text = " ".join(str(word) for word in (card.name, card.description, *classes, *data) if word)
    return all(word in text.lower() for word in words)
