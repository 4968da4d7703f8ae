"""What a user should hear when a model is registered, though nothing of it is an error."""

from collections.abc import Iterator, Mapping
from typing import Any

from registry.card import SpecialistCard
from registry.kinds import Card
from registry.licenses import UNSTATED, holds_back
from registry.training_data import data_records
from specialists.metrics import selection_metric


def concerns(card: Card) -> tuple[str, ...]:
    """Doubts about a specialist's worth, or about sharing any model, a sentence each."""
    scores = _about_scores(card) if isinstance(card, SpecialistCard) else ()
    return (*scores, *_about_licenses(card))


def _about_scores(card: SpecialistCard) -> Iterator[str]:
    metric, mode = selection_metric(card.spec)
    split = "test" if card.metrics.get("test") else "selection"
    own = _number(card.metrics.get(split), metric)
    floors = card.metrics.get("floors") or {}
    if own is None:
        yield f"it has no {metric}, so nothing shows what it is worth"
        return
    if split == "selection":
        yield f"its {metric} {own:.3f} is of the split that chose the weights, not of test data"
    if not floors:
        yield f"no floor stands beside its {metric} {own:.3f}, so nothing shows that it learned"
    for name, scores in floors.items():
        floor = _number(scores, metric)
        if floor is not None and (own <= floor if mode == "max" else own >= floor):
            yield (
                f"its {metric} {own:.3f} on {split} does not beat the floor {name} ({floor:.3f}): "
                "it has not earned its place"
            )


def _about_licenses(card: Card) -> Iterator[str]:
    if card.license == UNSTATED:
        yield "the licence of its weights is not stated, so nobody else may use them: --license"
    for license in _data_licenses(card):
        if holds_back(license):
            yield (
                f"it was trained on data of the licence {license or 'not stated'!r}: "
                "do not publish its weights before that is clear"
            )
    pretrained = card.training.get("pretrained")
    if isinstance(pretrained, Mapping) and holds_back(pretrained.get("licence")):
        yield (
            f"it began from weights of the licence {pretrained.get('licence') or 'not stated'!r}: "
            "do not publish its weights before that is clear"
        )


def _data_licenses(card: Card) -> list[str | None]:
    """Of every data set, each once; None for one that is not stated."""
    if isinstance(card, SpecialistCard):
        return [card.data_license]
    stated = [record.get("licence") for record in data_records(card.training)]
    # What an ensemble's members learned from is on their own cards.
    if not stated and card.kind == "trunk":
        return [None]
    return list(dict.fromkeys(stated))


def _number(scores: Any, metric: str) -> float | None:  # noqa: ANN401
    value = scores.get(metric) if isinstance(scores, Mapping) else None
    return float(value) if isinstance(value, int | float) else None
