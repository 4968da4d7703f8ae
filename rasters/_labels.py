"""From the words or numbers beside a scene to its label: a class, a set of classes, or values."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rasters._samples import Sample
from sensors.errors import InputError


def with_classes(
    source: Path,
    samples: Sequence[Sample],
    words: Sequence[Sequence[str]],
    classes: Sequence[str] | None,
    *,
    multi_label: bool,
) -> tuple[list[Sample], tuple[str, ...]]:
    """Samples labelled with their class or classes, and the names of all classes.

    Args:
        source: Where the words come from, for messages.
        samples: Scenes.
        words: Names of each scene's classes.
        classes: Names in order; None for all that occur, sorted.
        multi_label: A scene may have several, or none.

    Raises:
        InputError: If a name is not among the classes, or a scene has not the one it must have.
    """
    names = tuple(classes) if classes else tuple(sorted({word for own in words for word in own}))
    labelled = []
    for sample, own in zip(samples, words, strict=True):
        unknown = [word for word in own if word not in names]
        if unknown:
            raise InputError(
                f"{source}: {sample.id}: label {unknown[0]!r} is not among the classes "
                f"{', '.join(names)}"
            )
        if multi_label:
            labelled.append(replace(sample, label=tuple(float(name in own) for name in names)))
        elif len(own) == 1:
            labelled.append(replace(sample, label=names.index(own[0])))
        else:
            raise InputError(
                f"{source}: {sample.id} has {', '.join(own) or 'no label'}, expected one label; "
                "set multi_label: true where a scene has several"
            )
    return labelled, names


def with_values(
    source: Path, samples: Sequence[Sample], cells: Sequence[Sequence[object]]
) -> list[Sample]:
    """Samples labelled with the numbers of a regression.

    Raises:
        InputError: If one is not a number.
    """
    return [
        replace(sample, label=tuple(_number(source, sample, cell) for cell in own))
        for sample, own in zip(samples, cells, strict=True)
    ]


def _number(source: Path, sample: Sample, cell: object) -> float:
    try:
        return float(str(cell))
    except ValueError:
        raise InputError(f"{source}: {sample.id}: {cell!r} is not a number") from None
