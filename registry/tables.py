"""Cards as tables, for a console without markup: text of a card is shown as it is."""

from collections.abc import Iterable, Mapping
from typing import Any

from rich.table import Table

from registry.card import SpecialistCard
from registry.kinds import Card, kind_of
from registry.model_card import ModelCard
from registry.training_data import data_records
from registry.variant import Variant

_KINDS = {"specialist": "", "trunk": "trunk", "ensemble": "ensemble for"}


def cards_table(cards: Iterable[Card]) -> Table:
    """One line a card."""
    table = Table(box=None, pad_edge=False)
    table.add_column("model", no_wrap=True, overflow="fold")  # what a reader types next
    table.add_column("what it is")
    table.add_column("bands", no_wrap=True)
    for heading in ("GSD m", "MACs"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("licence", no_wrap=True)
    for card in cards:
        facts = card if isinstance(card, ModelCard) else card.spec
        table.add_row(
            str(card.reference),
            " ".join(word for word in (_KINDS[kind_of(card)], facts.task) if word),
            _span([band.name for band in facts.bands]),
            "any" if facts.gsd is None else f"{facts.gsd:g}",
            _count(card.macs),
            card.license,
        )
    return table


def card_table(card: Card) -> Table:
    """What a reader of one card wants to know first."""
    table = Table(title=str(card.reference), show_header=False, title_justify="left")
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    own = _about_model(card) if isinstance(card, ModelCard) else _about_specialist(card)
    for label, value in {
        "kind": kind_of(card),
        "description": card.description,
        **own,
        "scores": _scores(card.metrics),
        "licence": card.license,
        "weights": f"sha256 {card.sha256}, {card.size:,} bytes",
        "registered": card.created,
    }.items():
        table.add_row(label, value)
    return table


def _about_specialist(card: SpecialistCard) -> dict[str, str]:
    spec = card.spec
    rows = {
        "task": spec.task + (", multi-label" if spec.multi_label else ""),
        "classes": ", ".join(spec.classes),
        "any of the bands" if spec.takes_any_known else "bands": _shorten(
            [band.describe() for band in spec.bands], 16
        ),
        "trained at": f"{spec.gsd:g} m, {spec.chip_size} x {spec.chip_size} pixels",
        "network": f"{spec.architecture}, {_count(card.parameters)} parameters, "
        f"{_count(card.macs)} MACs a chip",
        "trained on": _trained_on(card) or "not stated (no counts); licence not stated",
    }
    if card.variant is not None:
        rows["compiled"] = _about_variant(card.variant)
    if card.prototypes:
        rows["prototypes"] = "\n".join(
            f"of {prototype.chips} chips, for the trunk with sha256 {prototype.trunk}"
            for prototype in card.prototypes
        )
    return rows


def _about_variant(variant: Variant) -> str:
    """Precision, and the score before and after, where they are known."""
    scores = {name: _mapping(variant.scores.get(name)).get("value") for name in ("float32", "int8")}
    text = f"{variant.precision}, for OpenVINO"
    if all(isinstance(value, int | float) for value in scores.values()):
        metric = variant.scores.get("metric")
        text += f"; {metric} " + ", ".join(f"{name} {value:.3f}" for name, value in scores.items())
    return text


def _about_model(card: ModelCard) -> dict[str, str]:
    return {
        "task": card.task or "features",
        "classes": ", ".join(card.classes),
        "bands": _shorten([band.describe() for band in card.bands], 16) or "any",
        "trained at": "any GSD" if card.gsd is None else f"{card.gsd:g} m",
        "network": f"{_count(card.parameters)} parameters, {_count(card.macs)} MACs an image",
        "trained on": _trained_on(card) or "not stated",
        "made of": "\n".join(f"{label}, sha256 {sha256}" for label, sha256 in card.pinned.items()),
    }


def _trained_on(card: Card) -> str:
    """The data sets, a line each."""
    lines = []
    for data in data_records(card.training):
        counts = ", ".join(f"{n} {split}" for split, n in _mapping(data.get("counts")).items())
        lines.append(
            f"{data.get('title') or data.get('name') or 'not stated'} ({counts or 'no counts'}); "
            f"licence {data.get('licence') or 'not stated'}"
        )
    return "\n".join(lines)


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


def _span(names: list[str]) -> str:
    """How many bands, and the first and the last of them."""
    if len(names) < 4:
        return ", ".join(names) or "any"
    return f"{len(names)}: {names[0]}-{names[-1]}"


def _shorten(words: list[str], limit: int = 8) -> str:
    return ", ".join(words[:limit]) + (f", ... ({len(words)})" if len(words) > limit else "")


def _count(number: int) -> str:
    """A count to three figures, with the letter of its thousand."""
    for factor, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= factor:
            return f"{number / factor:.3g} {letter}"
    return str(number)
