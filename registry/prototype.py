"""Where the training data of a specialist lie in the space of a trunk."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from registry.checksum import check_sha256
from sensors.errors import InputError


@dataclass(frozen=True)
class Prototype:
    """Mean and spread of a trunk's embeddings of a specialist's training chips.

    D is the width of the trunk. How it is computed is said in `router.prototypes`.

    Args:
        trunk: SHA-256 of the trunk's weight file, hexadecimal.
        mean: (D,) over chips.
        std: (D,) over chips, the standard deviation.
        chips: How many there were.

    Raises:
        InputError: If a value cannot be.
    """

    trunk: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    chips: int

    def __post_init__(self) -> None:
        check_sha256(self.trunk)
        for name in ("mean", "std"):
            values = getattr(self, name)
            if not all(_is_finite(value) for value in values):
                raise InputError(f"prototype: {name} must be finite numbers, got {values!r:.200}")
            object.__setattr__(self, name, tuple(float(value) for value in values))
        if not self.mean or len(self.mean) != len(self.std) or min(self.std) < 0:
            raise InputError(
                f"prototype: got {len(self.mean)} numbers in mean and {len(self.std)} in std, "
                "expected as many as the trunk is wide in both, and none below 0 in std"
            )
        if type(self.chips) is not int or self.chips < 1:
            raise InputError(f"prototype: chips {self.chips!r} is not 1 or more")

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON form."""
        return {
            "trunk": self.trunk,
            "mean": list(self.mean),
            "std": list(self.std),
            "chips": self.chips,
        }

    @classmethod
    def from_dict(cls, record: object) -> "Prototype":
        """Inverse of `to_dict`, for records that may come from anywhere.

        Raises:
            InputError: If a field is missing, unknown or refused.
        """
        names = ("trunk", "mean", "std", "chips")
        if not isinstance(record, Mapping) or set(record) != set(names):
            raise InputError(f"a prototype is described by {', '.join(names)}")
        if not all(isinstance(record[name], list) for name in ("mean", "std")):
            raise InputError("prototype: mean and std must be lists")
        return cls(record["trunk"], tuple(record["mean"]), tuple(record["std"]), record["chips"])


def _is_finite(value: object) -> bool:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    return abs(value) <= sys.float_info.max
