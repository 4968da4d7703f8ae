"""What a chip data set reads from."""

from typing import Any, Protocol

from torch import Tensor

from sensors.bands import Channel

Item = dict[str, Any]


class ChipSource(Protocol):
    """Where the chips of a data set come from: files, or another library's samples.

    Attributes:
        bands: What the layers of every image measure.
        ids: Name of every chip.
        groups: Group of every chip, None for one without.
    """

    bands: tuple[Channel, ...]
    ids: tuple[str, ...]
    groups: tuple[str | None, ...]

    def read(self, index: int) -> Item:
        """One chip as an item of `ChipDataset`."""

    def target(self, index: int) -> Tensor | None:
        """The `label` or `mask` of a chip's item, without its pixels where that saves reading."""

    def locate(self, index: int) -> tuple[float, float] | None:
        """Longitude and latitude of a chip's centre; None if it is nowhere told."""

    def digest(self, index: int) -> str:
        """SHA-256 of what decides a chip's item, the bytes behind it included."""
