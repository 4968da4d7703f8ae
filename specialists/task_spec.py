"""What a network is asked to do, on what bands, and by which head: plain data.

Its kinds add what network it is, such as `specialists.spec.SpecialistSpec`.
"""

import math
from collections.abc import Iterable
from dataclasses import MISSING, dataclass, fields
from typing import Any, Self, get_args, get_origin, get_type_hints

from sensors.bands import Channel, channel_from_dict, channel_to_dict
from sensors.errors import InputError

TASKS = ("scene-classification", "semantic-segmentation", "regression", "similarity-search")
HEADS = ("pyramid", "pool")
DECODERS = ("unet", "fpn", "linear")


@dataclass(frozen=True, kw_only=True)
class TaskSpec:
    """A task and its head; JSON-plain through `to_dict` and `from_dict`.

    Args:
        task: One of `TASKS`, the task names of the STAC MLM extension. `similarity-search` is that
            of a backbone without a head, which has learned to see and not yet to name.
        bands: What each input channel measures, in the network's own order.
        classes: Names of the classes; for regression, names of the targets; none for
            similarity search.
        mean, std: Per band, in physical units; they normalise the input.
        gsd: Ground sample distance of the training chips in metres.
        chip_size: Edge of the training chips in pixels.
        multi_label: Scene classification in which a chip carries any number of the classes.
        per_pixel: Regression with one value a pixel; segmentation is always per pixel.
        head: Head of scene tasks: `pyramid` or `pool`, see `specialists.heads`.
        head_hidden_size: Width of a hidden layer in the pyramid head; 0 for a linear head.
        decoder: Decoder of per-pixel tasks: `unet`, `fpn` or `linear`, see `specialists.heads`.
        drop_rate: Dropout before the last layer of the head, only in training.
        target_mean, target_std: Per target of a regression, in its physical unit; the network's
            output times `target_std` plus `target_mean` is the prediction. Default 0 and 1.

    Raises:
        InputError: If a value is not one of those named above, or two of them contradict each
            other.
    """

    task: str
    bands: tuple[Channel, ...]
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    gsd: float
    chip_size: int
    multi_label: bool = False
    per_pixel: bool = False
    head: str = "pyramid"
    head_hidden_size: int = 0
    decoder: str = "unet"
    drop_rate: float = 0.0
    target_mean: tuple[float, ...] = ()
    target_std: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        for name in ("bands", "classes"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        for name in ("mean", "std", "target_mean", "target_std"):
            object.__setattr__(self, name, tuple(float(value) for value in getattr(self, name)))
        if self.task == "regression":
            object.__setattr__(self, "target_mean", self.target_mean or (0.0,) * len(self.classes))
            object.__setattr__(self, "target_std", self.target_std or (1.0,) * len(self.classes))
        self._check_choices()
        self._check_names()
        self._check_numbers()

    def _check_choices(self) -> None:
        check_choice("task", self.task, TASKS)
        check_choice("head", self.head, HEADS)
        check_choice("decoder", self.decoder, DECODERS)
        if self.multi_label and self.task != "scene-classification":
            raise InputError(
                f"multi_label belongs to scene-classification, the task is {self.task}"
            )
        if self.per_pixel and self.task in ("scene-classification", "similarity-search"):
            raise InputError(
                "per_pixel belongs to regression; per-pixel classes are semantic-segmentation"
            )
        if self.task != "regression" and (self.target_mean or self.target_std):
            raise InputError(
                f"target_mean and target_std belong to regression, the task is {self.task}"
            )

    def _check_names(self) -> None:
        _check_unique("bands", [band.name for band in self.bands])
        if self.task == "similarity-search":
            if self.classes:
                raise InputError(
                    f"similarity-search has no classes, got {', '.join(map(str, self.classes))}"
                )
            return
        _check_unique("classes", list(self.classes))
        if self.task != "regression" and not self.multi_label and len(self.classes) < 2:
            raise InputError(
                f"one class ({self.classes[0]}) leaves nothing to tell apart: name at least two, "
                "or set multi_label"
            )

    def _check_numbers(self) -> None:
        _check_scaling("mean", "std", self.mean, self.std, [band.name for band in self.bands])
        if self.task == "regression":
            names = list(self.classes)
            _check_scaling("target_mean", "target_std", self.target_mean, self.target_std, names)
        if not (math.isfinite(self.gsd) and self.gsd > 0):
            raise InputError(f"gsd {self.gsd} is not a distance in metres")
        if self.chip_size < 1:
            raise InputError(f"chip_size {self.chip_size} is not a number of pixels")
        if self.head_hidden_size < 0:
            raise InputError(f"head_hidden_size {self.head_hidden_size} is not a width; 0 is none")
        check_rate("drop_rate", self.drop_rate)

    @property
    def is_per_pixel(self) -> bool:
        """Whether the output has a value for every pixel."""
        return self.per_pixel or self.task == "semantic-segmentation"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON form: strings, numbers, lists and dictionaries only."""
        record: dict[str, Any] = {}
        for entry in fields(self):
            value = getattr(self, entry.name)
            record[entry.name] = list(value) if isinstance(value, tuple) else value
        record["bands"] = [channel_to_dict(band) for band in self.bands]
        return record

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> Self:
        """Inverse of `to_dict`, for records that may come from anywhere.

        Raises:
            InputError: If a field is unknown or missing, is of another type, or fails the spec's
                own checks.
        """
        if not isinstance(record, dict):
            raise InputError(f"a spec is a dictionary, got {type(record).__name__}")
        hints = get_type_hints(cls)
        required = {entry.name for entry in fields(cls) if entry.default is MISSING}
        unknown, missing = set(record) - set(hints), required - set(record)
        if unknown or missing:
            raise InputError(
                f"spec with unknown fields {sorted(unknown)} and missing fields {sorted(missing)}; "
                f"the fields are {', '.join(hints)}"
            )
        return cls(**{name: _decode(name, value, hints[name]) for name, value in record.items()})


def _decode(name: str, value: Any, hint: Any) -> Any:  # noqa: ANN401 - JSON in, any field's type out
    """Value of one field from its JSON form, only if it is of the field's type."""
    if get_origin(hint) is tuple and isinstance(value, list | tuple):
        return tuple(_decode(name, item, get_args(hint)[0]) for item in value)
    if hint == Channel and isinstance(value, dict):
        return channel_from_dict(value)
    if hint is float and type(value) is int:
        return float(value)
    if type(value) is hint:
        return value
    expected = getattr(hint, "__name__", str(hint))
    raise InputError(f"spec field {name} holds {value!r}, expected {expected}")


def check_choice(name: str, value: object, choices: tuple[object, ...]) -> None:
    """Refuse a value that is not one of the choices.

    Raises:
        InputError: Names them.
    """
    if value not in choices:
        raise InputError(f"{name} {value!r} is not one of {', '.join(map(str, choices))}")


def check_rate(name: str, value: float) -> None:
    """Refuse a number that is not at least 0 and below 1.

    Raises:
        InputError: Names it.
    """
    if not 0 <= value < 1:
        raise InputError(f"{name} {value} is outside 0..1")


def _check_unique(name: str, values: list[str]) -> None:
    if not values:
        raise InputError(f"a specialist needs {name}, got none")
    twice = sorted({value for value in values if values.count(value) > 1})
    if twice:
        raise InputError(f"{name} named more than once: {', '.join(map(str, twice))}")
    if not all(isinstance(value, str) and value for value in values):
        raise InputError(f"{name} must be named by non-empty strings, got {values}")


def _check_scaling(
    mean_name: str, std_name: str, mean: Iterable[float], std: Iterable[float], names: list[str]
) -> None:
    mean, std = list(mean), list(std)
    for label, values in ((mean_name, mean), (std_name, std)):
        if len(values) != len(names):
            raise InputError(
                f"{label} holds {len(values)} numbers for {len(names)} names ({', '.join(names)})"
            )
    for name, center, width in zip(names, mean, std, strict=True):
        if not (math.isfinite(center) and math.isfinite(width) and width > 0):
            raise InputError(
                f"{name}: {mean_name} {center} and {std_name} {width} must be finite, "
                f"{std_name} above 0; "
                "something that never varies cannot be learned from, leave it out"
            )
