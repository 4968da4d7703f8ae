"""Cards as tables, for a console without markup: text of a card is shown as it is."""

from collections.abc import Iterable, Mapping
from typing import Any

from rich.table import Table

from registry.card import SpecialistCard


def cards_table(cards: Iterable[SpecialistCard]) -> Table:
    """One line a card."""
    table = Table()
    for heading in ("specialist", "task", "bands"):
        table.add_column(heading)
    for heading in ("GSD m", "parameters", "MACs a chip"):
        table.add_column(heading, justify="right")
    table.add_column("licence")
    for card in cards:
        spec = card.spec
        table.add_row(
            str(card.reference),
            spec.task,
            _shorten([band.name for band in spec.bands]),
            f"{spec.gsd:g}",
            _count(card.parameters),
            _count(card.macs),
            card.license,
        )
    return table


def card_table(card: SpecialistCard) -> Table:
    """What a reader of one card wants to know first."""
    spec, data = card.spec, _mapping(card.training.get("data"))
    counts = _mapping(data.get("counts"))
    table = Table(title=str(card.reference), show_header=False, title_justify="left")
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for label, value in {
        "description": card.description,
        "task": spec.task + (", multi-label" if spec.multi_label else ""),
        "classes": ", ".join(spec.classes),
        "bands": _shorten([band.describe() for band in spec.bands], 16),
        "trained at": f"{spec.gsd:g} m, {spec.chip_size} x {spec.chip_size} pixels",
        "network": f"{spec.architecture}, {_count(card.parameters)} parameters, "
        f"{_count(card.macs)} MACs a chip",
        "trained on": f"{data.get('title') or data.get('name') or 'not stated'} "
        f"({', '.join(f'{count} {split}' for split, count in counts.items()) or 'no counts'}); "
        f"licence {card.data_license or 'not stated'}",
        "scores": _scores(card.metrics),
        "licence": card.license,
        "weights": f"sha256 {card.sha256}, {card.size:,} bytes",
        "registered": card.created,
    }.items():
        table.add_row(label, value)
    return table


def _scores(metrics: Mapping[str, Any]) -> str:
    """The plain numbers of every split and floor, a line each."""
    lines = {split: metrics.get(split) for split in ("selection", "test")}
    floors = _mapping(metrics.get("floors"))
    lines |= {f"floor {name}": scores for name, scores in floors.items()}
    return "\n".join(
        f"{label}: {', '.join(f'{name} {value:.3f}' for name, value in numbers.items())}"
        for label, scores in lines.items()
        if (numbers := _numbers(scores))
    )


def _numbers(scores: object) -> dict[str, float]:
    return {k: v for k, v in _mapping(scores).items() if isinstance(v, int | float)}


def _mapping(value: object) -> Mapping[str, Any]:
    """A part of a card that no check has seen, if it is what it should be."""
    return value if isinstance(value, Mapping) else {}


def _shorten(words: list[str], limit: int = 8) -> str:
    return ", ".join(words[:limit]) + (f", ... ({len(words)})" if len(words) > limit else "")


def _count(number: int) -> str:
    """A count to three figures, with the letter of its thousand."""
    for factor, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= factor:
            return f"{number / factor:.3g} {letter}"
    return str(number)
