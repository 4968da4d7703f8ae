"""What a user should hear when a specialist is registered, though nothing of it is an error."""

from collections.abc import Iterator, Mapping
from typing import Any

from registry.card import SpecialistCard
from registry.licenses import UNSTATED, holds_back
from specialists.metrics import selection_metric


def concerns(card: SpecialistCard) -> tuple[str, ...]:
    """Doubts about a specialist's worth or about sharing it, a sentence each."""
    return (*_about_scores(card), *_about_licenses(card))


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


def _about_licenses(card: SpecialistCard) -> Iterator[str]:
    if card.license == UNSTATED:
        yield "the licence of its weights is not stated, so nobody else may use them: --license"
    if holds_back(card.data_license):
        yield (
            f"it was trained on data of the licence {card.data_license or 'not stated'!r}: "
            "do not publish its weights before that is clear"
        )
    pretrained = card.training.get("pretrained")
    if pretrained and holds_back(pretrained.get("licence")):
        yield (
            f"it began from weights of the licence {pretrained.get('licence') or 'not stated'!r}: "
            "do not publish its weights before that is clear"
        )


def _number(scores: Any, metric: str) -> float | None:  # noqa: ANN401
    value = scores.get(metric) if isinstance(scores, Mapping) else None
    return float(value) if isinstance(value, int | float) else None
