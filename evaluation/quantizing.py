"""`quantize-specialist`: a registered specialist in int8, measured, and registered beside it.

quantize-specialist s2-landcover data=eurosat_ms
"""

import math
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console

from evaluation.before_after import Row, measure_row, predict_chips, tabulate, task_of
from evaluation.intervals import Interval
from evaluation.own_data import check_bands, check_task
from evaluation.quantizing_config import QuantizeConfig
from rasters import ChipDataset
from registry import Reference, Registry, SpecialistCard
from sensors.errors import InputError
from specialists.compiled import CompiledSpecialist
from specialists.compiled_int8 import choose_calibration, quantize_specialist
from specialists.compiled_tools import import_nncf, import_openvino
from specialists.data import Splits, load_splits
from specialists.network import TaskNetwork

console = Console()


def quantize_registered(config: QuantizeConfig) -> SpecialistCard:
    """Quantise a registered specialist, measure it before and after, and register the result.

    Args:
        config: What to quantise, by which chips, and what it may lose.

    Returns:
        The card of the result; the source is its parent.

    Raises:
        InputError: If the source or the data cannot be used, the name and version of the result
            are taken, OpenVINO or NNCF is not installed, or the score drops too far. Nothing is
            registered then.
    """
    config.check()
    registry = Registry.open(config.registry)
    source = registry.specialist(config.source)
    _check_source(source)
    reference = Reference(config.name or f"{source.name}-int8", config.version)
    registry.store.check_free(reference)
    import_openvino()
    import_nncf()
    splits = load_splits(config.data)
    for check in (check_bands, check_task):
        check(str(source.reference), source.spec, config.data.name, splits.chips["train"])
    before = registry.get(source.reference)
    console.print(f"Quantising {source.reference} by {config.samples} chips of {config.data.name}")
    after = quantize_specialist(before, splits.chips["train"], config.samples)
    split = "test" if "test" in splits.chips else "selection"
    rows = measure_forms(
        {"torch float32": before, "OpenVINO int8": after},
        source,
        splits.chips[split],
        batch_size=config.batch_size,
    )
    title = f"{reference}, {split} split of {config.data.name}"
    drop = drop_of(*rows)
    if not drop <= config.max_drop:
        console.print(tabulate(title, rows))
        raise InputError(
            f"{reference} is not registered: {rows[0].metric} went from {rows[0].score.value:.4f} "
            f"to {rows[1].score.value:.4f}, a drop of {drop:.4f}, and max_drop is "
            f"{config.max_drop:g}; give more samples, other chips, or a higher max_drop"
        )
    card = registry.add_variant(
        source.reference,
        after,
        name=reference.name,
        version=str(reference.version),
        license=config.license or "",
        calibration=_describe_calibration(config, splits),
        scores=_describe_scores(config, split, rows),
    )
    console.print(tabulate(title, rows))
    console.print(f"{reference} is registered in {registry.store.root}", soft_wrap=True)
    return card


def measure_forms(
    forms: Mapping[str, TaskNetwork],
    source: SpecialistCard,
    chips: ChipDataset,
    *,
    batch_size: int = 32,
) -> list[Row]:
    """Score and time several forms of one specialist on the CPU.

    Args:
        forms: The specialist, and compiled ones, by what the table calls them.
        source: Card of the specialist, which knows what all of them have.
        chips: Labelled.
        batch_size: Chips scored at once.
    """
    return [
        measure_row(
            name,
            form,
            chips,
            file_bytes=file_bytes(form) if isinstance(form, CompiledSpecialist) else source.size,
            parameters=source.parameters,
            macs=source.macs,
            predictions=predict_chips(form, chips, batch_size=batch_size, title=name),
        )
        for name, form in forms.items()
    ]


def file_bytes(compiled: CompiledSpecialist) -> int:
    """Bytes of both of its files."""
    with tempfile.TemporaryDirectory() as folder:
        return sum(path.stat().st_size for path in compiled.save(folder))


def drop_of(before: Row, after: Row) -> float:
    """By how much the main metric got worse: the difference; of an error, the share of what it was.

    NaN where one of them is not defined.
    """
    old, new = before.score.value, after.score.value
    if before.metric in _ERRORS:
        return (new - old) / old if old else math.copysign(math.inf, new - old) if new else 0.0
    return old - new


_ERRORS = ("rmse", "mae")


def _check_source(source: SpecialistCard) -> None:
    """Refuse what is compiled already, and what has no score that could drop."""
    if source.variant is not None:
        raise InputError(
            f"{source.reference} is in {source.variant.precision} already; quantise "
            f"{', '.join(source.parents)}"
        )
    task_of(source.spec)


def _describe_calibration(config: QuantizeConfig, splits: Splits) -> dict[str, Any]:
    chips = choose_calibration(splits.chips["train"], config.samples)
    return {
        "data": config.data.name,
        "split": "train",
        "split_hash": splits.digest(),
        "chips": len(chips),
    }


def _describe_scores(config: QuantizeConfig, split: str, rows: Sequence[Row]) -> dict[str, Any]:
    scores = {name: _plain(row.score) for name, row in zip(("float32", "int8"), rows, strict=True)}
    return {"data": config.data.name, "split": split, "metric": rows[0].metric, **scores}


def _plain(score: Interval) -> dict[str, Any]:
    """An interval as JSON, which has no NaN."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in vars(score).items()
    }
