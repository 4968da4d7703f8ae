"""What nodes say of their data before the first round, and the network that follows from it.

A node tells its task, its bands and the size of a pixel. With shared normalisation it also sends
how many pixels a band has, their sum and their sum of squares: from these the mean and deviation
over all nodes follow exactly, and no node's own can be told from the result of many.
"""

import json
import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from itertools import chain, count
from typing import Any, Self

from federation.task import LocalData, identity, measure_local
from sensors import Channel, InputError
from sensors.bands import channel_from_dict, channel_to_dict
from specialists.config import SpecialistConfig
from specialists.facts import describe_task
from specialists.spec import SpecialistSpec
from specialists.task_spec import TaskSpec

Sums = tuple[float, float, float]
"""Number of values, their sum and their sum of squares."""

_AGREED = ("task", "classes", "multi_label", "per_pixel")


@dataclass(frozen=True)
class Description:
    """What a node tells of its data.

    Args:
        task, classes, multi_label, per_pixel, gsd, chip_size: As in `TaskSpec`.
        bands: What its images measure.
        band_sums: For each band, where normalisation is shared; else none.
        target_sums: For each target of a regression, likewise.
    """

    task: str
    classes: tuple[str, ...]
    multi_label: bool
    per_pixel: bool
    gsd: float
    chip_size: int
    bands: tuple[Channel, ...]
    band_sums: tuple[Sums, ...] = ()
    target_sums: tuple[Sums, ...] = ()

    def to_json(self) -> str:
        """One line of text."""
        record = asdict(self) | {"bands": [channel_to_dict(band) for band in self.bands]}
        return json.dumps(record)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Inverse of `to_json`, for text that may come from anywhere.

        Raises:
            InputError: If it is not a description.
        """
        try:
            record = json.loads(text)
            bands = tuple(channel_from_dict(band) for band in record.pop("bands"))
            sums: dict[str, Any] = {
                name: tuple(tuple(float(value) for value in entry) for entry in record.pop(name))
                for name in ("band_sums", "target_sums")
            }
            classes = tuple(str(name) for name in record.pop("classes"))
            return cls(classes=classes, bands=bands, **sums, **record)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise InputError(f"what a node says of its data cannot be read: {error}") from error


def describe(data: LocalData, *, share_sums: bool) -> Description:
    """What a node tells of its data.

    Args:
        data: The node's.
        share_sums: Whether it sends sums of pixels.

    Raises:
        InputError: If its data cannot be learned from.
    """
    task = describe_task(data.config.data, data.config.specialist, data.train)
    common = {
        entry.name: getattr(task, entry.name)
        for entry in fields(Description)
        if not entry.name.endswith("_sums")
    }
    if not share_sums:
        return Description(**common)
    counts = measure_local(data).count
    targets = [len(data.train)] * len(task.target_mean)
    return Description(
        **common,
        band_sums=_sums(counts, task.mean, task.std),
        target_sums=_sums(targets, task.target_mean, task.target_std),
    )


def agree(descriptions: Mapping[int, Description], own: Description | None) -> Description:
    """What the run is about: what the server holds, else what most nodes hold.

    Args:
        descriptions: By node.
        own: Of the server's chips, if it has any.

    Raises:
        InputError: If no node has said anything, or as many say one thing as another.
    """
    if own is not None:
        return own
    if not descriptions:
        raise InputError("no node has usable data; their reasons stand above")
    counts = Counter(_kind(found) for found in descriptions.values())
    (first, most), *others = counts.most_common()
    if others and others[0][1] == most:
        kinds = "; ".join(f"{number} x {_say(kind)}" for kind, number in counts.items())
        raise InputError(
            f"the nodes do not agree on a task: {kinds}; give the server data of the task "
            "(run-config data-root), or let the nodes name their classes alike (data.classes)"
        )
    return next(found for found in descriptions.values() if _kind(found) == first)


def find_difference(found: Description, agreed: Description, *, any_bands: bool) -> str | None:
    """Why a node cannot take part, or None.

    Args:
        found: What it says.
        agreed: What the run is about.
        any_bands: Whether the network takes any bands.
    """
    if _kind(found) != _kind(agreed):
        return (
            f"its data are for {_say(_kind(found))}, and the run is for {_say(_kind(agreed))}; "
            "name the classes in this order with data.classes"
        )
    names, wanted = ([band.describe() for band in of.bands] for of in (found, agreed))
    if not any_bands and names != wanted:
        return (
            f"its images have the bands {', '.join(names)}, and the run is for "
            f"{', '.join(wanted)}; name them in this order with data.bands, or train with "
            "specialist.stem=wavelength, which takes any"
        )
    return None


def build_spec(
    agreed: Description,
    taking_part: Sequence[Description],
    network: SpecialistConfig,
    own: TaskSpec | None,
) -> SpecialistSpec:
    """The network that the nodes train together.

    Its bands are those of all nodes. Its normalisation is that over all nodes, where they send
    sums, else that of the server's own chips.

    Args:
        agreed: What the run is about.
        taking_part: What the nodes say that take part.
        network: The experiment's network.
        own: Of the server's chips, if it has any.

    Raises:
        InputError: If no statistics can be had.
    """
    bands = _union(taking_part if taking_part else [agreed])
    if any(found.band_sums for found in taking_part):
        mean, std = _pool_bands(bands, taking_part)
        target_mean, target_std = _pool(
            list(zip(*(d.target_sums for d in taking_part), strict=True))
        )
    elif own is not None and set(own.bands) >= set(bands):
        order = [own.bands.index(band) for band in bands]
        mean, std = ([of[place] for place in order] for of in (own.mean, own.std))
        target_mean, target_std = list(own.target_mean), list(own.target_std)
    else:
        raise InputError(
            "normalization=local: no statistics leave the nodes, so the result needs those of "
            f"chips at the server, with the bands {', '.join(band.name for band in bands)}: give "
            "run-config data-root, start=NAME, or normalization=shared"
        )
    return SpecialistSpec(
        **_network_fields(network),
        task=agreed.task,
        bands=bands,
        classes=agreed.classes,
        mean=tuple(mean),
        std=tuple(std),
        gsd=agreed.gsd,
        chip_size=agreed.chip_size,
        multi_label=agreed.multi_label,
        per_pixel=agreed.per_pixel,
        target_mean=tuple(target_mean),
        target_std=tuple(target_std),
    )


def _network_fields(network: SpecialistConfig) -> dict[str, Any]:
    """What of an experiment's network stands in a spec, too."""
    known = {entry.name for entry in fields(SpecialistSpec)}
    return {
        entry.name: getattr(network, entry.name) for entry in fields(network) if entry.name in known
    }


def _kind(found: Description) -> tuple[Any, ...]:
    return tuple(getattr(found, name) for name in _AGREED)


def _say(kind: tuple[Any, ...]) -> str:
    task, classes, *_ = kind
    return f"{task} of {', '.join(classes)}"


def _sums(
    counts: Sequence[int], means: Sequence[float], deviations: Sequence[float]
) -> tuple[Sums, ...]:
    return tuple(
        (float(n), n * mean, n * (std**2 + mean**2))
        for n, mean, std in zip(counts, means, deviations, strict=True)
    )


def _union(descriptions: Sequence[Description]) -> tuple[Channel, ...]:
    """Every band once, in the order of the first description that has it; names are unique."""
    bands: dict[str, Channel] = {}
    for found in descriptions:
        for band in found.bands:
            names = {known.name for known in bands.values()}
            numbers = (f"{band.name}-{number}" for number in count(2))
            free = next(name for name in chain([band.name], numbers) if name not in names)
            bands.setdefault(identity(band), replace(band, name=free))
    return tuple(bands.values())


def _pool_bands(
    bands: Sequence[Channel], descriptions: Sequence[Description]
) -> tuple[list[float], list[float]]:
    sums: dict[str, list[Sums]] = defaultdict(list)
    for found in descriptions:
        for band, entry in zip(found.bands, found.band_sums, strict=True):
            sums[identity(band)].append(entry)
    return _pool([sums[identity(band)] for band in bands])


def _pool(entries: Sequence[Sequence[Sums]]) -> tuple[list[float], list[float]]:
    """Mean and deviation over all nodes, 0 and 1 where there is nothing."""
    mean, std = [], []
    for parts in entries:
        number, total, squares = (math.fsum(column) for column in zip(*parts, strict=True))
        center = total / number if number else 0.0
        variance = squares / number - center**2 if number else 0.0
        mean.append(center)
        std.append(math.sqrt(variance) if variance > 0 else 1.0)
    return mean, std
