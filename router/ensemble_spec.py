"""What an ensemble is made of, beside its members and its trunk."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sensors.errors import InputError

GATES = ("routed", "soft", "static", "sensor", "uniform")
"""How members are chosen.

`routed`: the `top_k` that fit the image best. `soft`: all that can run, weighted by the image.
`static`: the same `top_k` of those that can run for every image. `sensor`: the `top_k` whose bands
are nearest to the image's. `uniform`: all that can run, with equal weights.
"""
TRUNK_GATES = ("routed", "soft")
"""Gates that look at the image, and so need a trunk."""
FUSIONS = ("concat", "sum", "attention")
"""How the pyramids of several members become one, see `router.fusion`."""


@dataclass(frozen=True, kw_only=True)
class EnsembleSpec:
    """Everything but members, trunk and weights that an `Ensemble` is built from.

    Args:
        gate: One of `GATES`.
        top_k: Members that run for an image; `soft` and `uniform` take all.
        temperature: Of the softmax over scores; small ones make the best member's weight larger.
        key_size: Width of queries and keys.
        fusion: One of `FUSIONS`.
        channels: Width of every level of the fused pyramid, finest first.
        reductions: How many times smaller than the image each level is.
        trunk_features: The trunk's own pyramid is fused, too.
        trunk_image_size: Edge in pixels to which images are resized for the gate; None: the trunk
            sees them as they are, grown to whole patches.

    Raises:
        InputError: If a value is not one of the choices or out of range.
    """

    gate: str = "routed"
    top_k: int = 2
    temperature: float = 1.0
    key_size: int = 64
    fusion: str = "concat"
    channels: tuple[int, ...] = (80, 160, 320, 640)
    reductions: tuple[int, ...] = (4, 8, 16, 32)
    trunk_features: bool = False
    trunk_image_size: int | None = 64

    def __post_init__(self) -> None:
        if self.gate not in GATES:
            raise InputError(f"gate {self.gate!r} is not one of {', '.join(GATES)}")
        if self.fusion not in FUSIONS:
            raise InputError(f"fusion {self.fusion!r} is not one of {', '.join(FUSIONS)}")
        for name in ("top_k", "key_size"):
            _require(_is_count(getattr(self, name)), name, getattr(self, name), "1 or more")
        size = self.trunk_image_size
        _require(size is None or _is_count(size), "trunk_image_size", size, "1 or more, or None")
        temperature = self.temperature
        _require(
            isinstance(temperature, int | float) and 0 < temperature < float("inf"),
            "temperature",
            temperature,
            "above 0",
        )
        _require(
            isinstance(self.trunk_features, bool), "trunk_features", self.trunk_features, "a truth"
        )
        for name in ("channels", "reductions"):
            values = tuple(getattr(self, name))
            _require(bool(values) and all(map(_is_count, values)), name, values, "1 or more each")
            object.__setattr__(self, name, values)
        _require(
            len(self.channels) == len(self.reductions)
            and list(self.reductions) == sorted(set(self.reductions)),
            "reductions",
            self.reductions,
            "one a level of `channels`, rising",
        )

    @property
    def needs_trunk(self) -> bool:
        """Whether it cannot run without a trunk."""
        return self.gate in TRUNK_GATES or self.trunk_features

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON form."""
        record = dict(vars(self))
        return record | {name: list(record[name]) for name in ("channels", "reductions")}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> "EnsembleSpec":
        """Inverse of `to_dict`, for records that may come from anywhere.

        Raises:
            InputError: If a field is missing, unknown or refused.
        """
        names = set(cls.__dataclass_fields__)
        if not isinstance(record, Mapping) or set(record) != names:
            raise InputError(f"an ensemble is described by {', '.join(sorted(names))}")
        for name in ("channels", "reductions"):
            if not isinstance(record[name], list):
                raise InputError(f"ensemble {name} is {record[name]!r}, expected a list")
        return cls(**record)


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 1


def _require(holds: bool, name: str, value: object, wanted: str) -> None:
    if not holds:
        raise InputError(f"ensemble {name} is {value!r}, expected {wanted}")
