"""What a trunk is, as plain data, and the sizes that have a name."""

import math
from dataclasses import dataclass, fields
from typing import Any

from sensors.bands import Channel, channel_from_dict, channel_to_dict
from sensors.errors import InputError
from specialists.wavelength import BAND_REDUCTIONS, SAR_CONVENTIONS

NORMS = ("tokens", "pooled")
_SIZES = ("width", "depth", "num_heads", "patch_size", "image_size", "generator_hidden_size")


@dataclass(frozen=True, kw_only=True)
class TrunkSpec:
    """Everything that `build_trunk` needs; JSON-plain through `to_dict` and `from_dict`.

    Args:
        width: Width of a token.
        depth: Number of transformer blocks.
        num_heads: Attention heads of a block.
        patch_size: Edge of a patch in pixels.
        image_size: Edge of the image that the position embedding is made for; it is interpolated
            for others.
        padding: 1 if patches begin one pixel early, as in published weights.
        generator_hidden_size: Width of the MLP in the generator of filters.
        layer_scale: Whether blocks scale what they add (DOFA v2).
        norm: Where the last norm stands: `tokens`, before they are averaged, or `pooled`, after
            (DOFA v1).
        sar_convention: How radar channels are told to the network, see
            `specialists.wavelength.ChannelEncoder`.
        band_reduction: `mean` or `sum`, see `specialists.wavelength.DynamicPatchEmbed`.
        bands: Bands whose statistics are known.
        mean, std: Per band of these, in physical units.

    Raises:
        InputError: If a value is not one of those named above, or they contradict each other.
    """

    width: int
    depth: int
    num_heads: int
    patch_size: int = 16
    image_size: int = 224
    padding: int = 0
    generator_hidden_size: int = 2048
    layer_scale: bool = False
    norm: str = "tokens"
    sar_convention: str = "polarization"
    band_reduction: str = "mean"
    bands: tuple[Channel, ...] = ()
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "bands", tuple(self.bands))
        for name in ("mean", "std"):
            object.__setattr__(self, name, tuple(float(value) for value in getattr(self, name)))
        for name, choices in (
            ("norm", NORMS),
            ("sar_convention", SAR_CONVENTIONS),
            ("band_reduction", BAND_REDUCTIONS),
            ("padding", (0, 1)),
        ):
            if getattr(self, name) not in choices:
                raise InputError(
                    f"trunk: {name} {getattr(self, name)!r} is not one of "
                    f"{', '.join(map(str, choices))}"
                )
        self._check_sizes()
        self._check_statistics()

    def _check_sizes(self) -> None:
        for name in _SIZES:
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                raise InputError(f"trunk: {name} {value!r} is not a whole number above 0")
        if type(self.layer_scale) is not bool:
            raise InputError(f"trunk: layer_scale {self.layer_scale!r} is not true or false")
        if self.width % self.num_heads or self.width % 4:
            raise InputError(
                f"trunk: width {self.width} is not a multiple of 4 and of its {self.num_heads} "
                "attention heads"
            )
        if self.image_size % self.patch_size:
            raise InputError(
                f"trunk: image_size {self.image_size} is not a multiple of patch_size "
                f"{self.patch_size}"
            )

    def _check_statistics(self) -> None:
        if not len(self.bands) == len(self.mean) == len(self.std):
            raise InputError(
                f"trunk: {len(self.bands)} bands with {len(self.mean)} means and {len(self.std)} "
                "standard deviations; give one of each for a band"
            )
        for band, mean, std in zip(self.bands, self.mean, self.std, strict=True):
            if not (math.isfinite(mean) and math.isfinite(std) and std > 0):
                raise InputError(
                    f"trunk: band {band.name} has mean {mean} and standard deviation {std}; both "
                    "must be finite and the second above 0"
                )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON form: strings, numbers, lists and dictionaries only."""
        record = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        return record | {
            "bands": [channel_to_dict(band) for band in self.bands],
            "mean": list(self.mean),
            "std": list(self.std),
        }

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> "TrunkSpec":
        """Inverse of `to_dict`, for records that may come from anywhere.

        Raises:
            InputError: If a field is unknown, missing or of another type, or fails the spec's own
                checks.
        """
        try:
            bands = [channel_from_dict(band) for band in record.get("bands", ())]
            return cls(**(record | {"bands": tuple(bands)}))
        except InputError:
            raise
        except (TypeError, ValueError, AttributeError) as error:
            raise InputError(f"this is not the record of a trunk: {error}") from error


TRUNKS = {
    # At 224 px and up to 13 bands no more multiply-adds than a ConvNeXtV2-Atto on the same bands
    # (0.42 G against 0.55 G for 3 bands, 0.55 G against 0.57 G for 12), generator included.
    "dofa-nano": TrunkSpec(width=160, depth=5, num_heads=5, generator_hidden_size=256),
    "dofa-small": TrunkSpec(width=384, depth=12, num_heads=6),
    "dofa-base": TrunkSpec(width=768, depth=12, num_heads=12),
    "dofa-large": TrunkSpec(width=1024, depth=24, num_heads=16),
    "dofa-huge": TrunkSpec(width=1280, depth=32, num_heads=16, patch_size=14),
}
"""Sizes of the DOFA paper's code and one smaller, with this project's own conventions."""

DOFA_V1: dict[str, Any] = {
    "padding": 1,
    "norm": "pooled",
    "sar_convention": "dofa-v1",
    "band_reduction": "sum",
}
DOFA_V2: dict[str, Any] = DOFA_V1 | {
    "patch_size": 14,
    "layer_scale": True,
    "norm": "tokens",
    "sar_convention": "dofa-v2",
}
"""What differs in published weights: `dataclasses.replace(TRUNKS["dofa-base"], **DOFA_V1)`."""
