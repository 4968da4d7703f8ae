"""Filling a cell: found among what is finished, copied from another seed, or computed."""

import time
from dataclasses import replace
from typing import Any

from evaluation.cells import Probe, Subject, depends_on_seed, evaluate_cell, is_plain
from evaluation.config import ProtocolConfig
from evaluation.examples import write_examples
from evaluation.features import Features
from evaluation.folder import ResultsFolder
from evaluation.record import CellRecord
from sensors import InputError, MissingBandsError
from specialists.cost import count_parameters


class Parts:
    """The features of a subject, extracted when the first cell asks for them, and its probes."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.fitted: dict[str, Probe] = {}
        self._parts: dict[str, Features] | None = None

    def read(self) -> dict[str, Features]:
        """`subject.own_features()`."""
        if self._parts is None:
            self._parts = self.subject.own_features()
        return self._parts


def find_cell(
    folder: ResultsFolder,
    subject: Subject,
    name: str,
    protocol: ProtocolConfig,
    *,
    seed: int,
    first_seed: int,
    is_random: bool = False,
) -> CellRecord:
    """The place of a cell.

    Args:
        folder: Of results.
        subject: Encoder and data set.
        name: Of the protocol.
        protocol: The protocol.
        seed: Of the cell.
        first_seed: The one that stands for all where none matters.
        is_random: Another seed gives another encoder.
    """
    matters = is_random or depends_on_seed(protocol)
    return CellRecord(
        folder,
        subject.data.name,
        name,
        subject.encoder.name,
        seed,
        subject.key(protocol, seed if matters else first_seed),
        subject.data.digest,
        subject.encoder.digest,
    )


def fill_cell(
    cell: CellRecord,
    parts: Parts,
    protocol: ProtocolConfig,
    *,
    first_seed: int,
    examples: int = 0,
    command: str = "",
) -> dict[str, Any]:
    """The record of a cell; computed only if it, or one that is the same, is not there.

    Args:
        cell: From `find_cell`.
        parts: Of its subject.
        protocol: Its protocol.
        first_seed: As there.
        examples: Number of test chips whose maps are kept, for the first seed of a plain protocol.
        command: What repeats it.
    """
    record = cell.read()
    if record is None and cell.seed != first_seed:
        first = replace(cell, seed=first_seed)
        record = cell.copy(first)
    if record is not None:
        return record
    started = time.perf_counter()
    shown = examples if cell.seed == first_seed and is_plain(protocol) else 0
    try:
        outcome = evaluate_cell(
            parts.subject,
            protocol,
            parts.read(),
            seed=cell.seed,
            fitted=parts.fitted,
            examples=shown,
        )
    except InputError as error:
        return cell.write_empty(_reason(error), command=command)
    if outcome.maps:
        write_examples(cell.folder, parts.subject, cell.protocol, outcome.maps)
    return cell.write(outcome, seconds=time.perf_counter() - started, command=command)


def describe_subject(folder: ResultsFolder, subject: Subject) -> None:
    """Write down what the data set and the encoder of a subject are."""
    data, encoder = subject.data, subject.encoder
    folder.write("data", data.name, content={"name": data.name, **data.describe()})
    content = {
        "name": encoder.name,
        "kind": encoder.kind,
        "description": encoder.description,
        "digest": encoder.digest,
        "is_floor": encoder.is_floor,
        "parameters": count_parameters(encoder.module),
    }
    folder.write("encoders", encoder.name, content=content)


def describe_protocol(
    folder: ResultsFolder, name: str, protocol: ProtocolConfig, base: str | None
) -> None:
    """Write down what a protocol is, and of which other one it is a variation."""
    content = {
        "name": name,
        "title": protocol.title,
        "probe": protocol.probe.kind,
        "description": protocol.description,
        "label_fraction": protocol.label_fraction,
        "base": base,
    }
    folder.write("protocols", name, content=content)


def _reason(error: InputError) -> str:
    """Why a cell is empty, short enough for a table."""
    if not isinstance(error, MissingBandsError) or not error.missing:
        return str(error)
    names = [missing.wanted.name for missing in error.missing]
    shown = ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")
    return f"the data lack {len(names)} of its bands: {shown}"
