"""What an ensemble is made of, beside its members and its trunk."""

from collections.abc import Mapping, Sequence
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
ALL_GATES = ("soft", "uniform")
"""Gates that run all members that can, whatever `top_k` is."""
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
    def takes_all(self) -> bool:
        """Whether all members that can run do."""
        return self.gate in ALL_GATES

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


def suit_members(infos: Sequence[Any], **settings: Any) -> EnsembleSpec:  # noqa: ANN401
    """A spec with the widths and reductions that suit its members, where they are not given.

    Fused levels have the reductions of most members. `concat` gets room for every member that runs
    at once, so that it can keep apart what each of them says; the others that of the widest.

    Args:
        infos: `feature_info` of every member.
        settings: Fields of the spec; `gate`, `top_k` and `fusion` at least.
    """
    if "reductions" not in settings:
        known = [tuple(info.reduction()) for info in infos]
        settings["reductions"] = max(sorted(set(known), reverse=True), key=known.count)
    if "channels" not in settings:
        widest = [max(widths) for widths in zip(*(info.channels() for info in infos), strict=False)]
        takes_all = settings["gate"] in ALL_GATES
        at_once = len(infos) if takes_all else min(settings["top_k"], len(infos))
        room = at_once if settings["fusion"] == "concat" else 1
        settings["channels"] = tuple(room * width for width in widest)
    return EnsembleSpec(**settings)


def check_spec(spec: EnsembleSpec, members: int, *, has_trunk: bool) -> None:
    """Refuse a spec that a number of members cannot serve.

    Raises:
        InputError: If `top_k` is larger, or a trunk is needed and not there.
    """
    if not spec.takes_all and spec.top_k > members:
        raise InputError(
            f"top_k {spec.top_k} is larger than the number of members, {members}; "
            "lower it, or name more members"
        )
    if spec.needs_trunk and not has_trunk:
        why = "trunk_features" if spec.trunk_features else f"gate {spec.gate}"
        raise InputError(
            f"{why} needs a trunk, and none is named; name a registered trunk, or choose the gate "
            "static, sensor or uniform without trunk_features"
        )


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 1


def _require(holds: bool, name: str, value: object, wanted: str) -> None:
    if not holds:
        raise InputError(f"ensemble {name} is {value!r}, expected {wanted}")
