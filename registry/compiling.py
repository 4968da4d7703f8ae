"""Compiled specialists on their way into the store, and out of it."""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from registry.card import SpecialistCard
from registry.checksum import file_sha256
from registry.item import now
from registry.names import Reference
from registry.store import Store
from registry.variant import CONSTANTS, GRAPH, Blob, Variant, check_variant
from sensors.errors import InputError
from specialists.compiled import CompiledSpecialist, load_compiled
from specialists.compiled_tools import tool_versions

_TOOLS = {"float32": ("openvino",), "int8": ("openvino", "nncf")}


@contextmanager
def compiled_card(
    card: SpecialistCard,
    source: Reference,
    compiled: CompiledSpecialist,
    calibration: Mapping[str, Any] | None = None,
    scores: Mapping[str, Any] | None = None,
) -> Iterator[tuple[SpecialistCard, dict[str, Path]]]:
    """The card of a compiled form, created now, and its files by hash, which are temporary.

    Args:
        card: That of the specialist that it was made of, under the new name.
        source: That specialist.
        compiled: The compiled form.
        calibration: By which chips ranges were chosen.
        scores: Before and after.

    Raises:
        InputError: If it is not that specialist's.
    """
    if compiled.spec != card.spec:
        raise InputError(
            f"the compiled form is not that of {source}: its spec is another one; compile the "
            "specialist that the registry has"
        )
    with tempfile.TemporaryDirectory() as folder:
        files = compiled.save(folder)
        graph, constants = (Blob(file_sha256(path), path.stat().st_size) for path in files)
        variant = Variant(
            precision=compiled.precision,
            graph=graph,
            constants=constants,
            versions=tool_versions(*_TOOLS[compiled.precision]),
            calibration=calibration or {},
            scores=scores or {},
        )
        made = replace(card, created=now(), parents=(str(source),), variant=variant)
        hashes = (graph.sha256, constants.sha256)
        yield made, dict(zip(hashes, files, strict=True))


def load_variant(store: Store, card: SpecialistCard) -> CompiledSpecialist:
    """The compiled form that a card describes; hashes verified.

    Raises:
        InputError: If it has none, a file was changed or damaged, the card contradicts it, or
            OpenVINO is not installed.
    """
    if card.variant is None:
        raise InputError(
            f"{card.reference} has no compiled form; make one with: quantize-specialist "
            f"{card.reference} data=..."
        )
    files = check_variant(store, card)
    compiled = load_compiled(files[GRAPH], files[CONSTANTS])
    if (compiled.spec, compiled.precision) != (card.spec, card.variant.precision):
        raise InputError(
            f"{store.card_path(card.reference)}: the card contradicts its graph {files[GRAPH]}, "
            "which is another specialist's or of another precision; restore the card"
        )
    return compiled
