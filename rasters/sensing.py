"""Images as another sensor would deliver them.

Shapes: `...` any leading axes, C given channels, K channels of the sensor, H and W pixels.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from rasters._chip_source import ChipSource, Item
from rasters.chips import ChipDataset
from sensors import BandPlan, Channel, MissingBandsError, load_sensor

Stack = tuple[Tensor, tuple[Channel, ...], Tensor]


def as_sensor(x: Tensor, given: Sequence[Channel], valid: Tensor, sensor: str) -> Stack:
    """The image as another sensor would deliver it: its spectral bands, on the same pixel grid.

    Only those of the sensor's bands are there that the given ones can serve.

    Args:
        x: `(..., C, H, W)`, physical.
        given: What its C channels measure.
        valid: bool, shape of `x`.
        sensor: Name in the catalogue, or the path of a sensor file.

    Returns:
        Pixels `(..., K, H, W)`, the sensor's K channels that could be served, and their validity.

    Raises:
        MissingBandsError: If the given bands serve none of the sensor's.
        InputError: If there is no such sensor.
    """
    channels = sensor_channels(given, sensor)
    plan = BandPlan.match(channels, given)
    return plan.apply(x), channels, plan.apply_valid(valid)


def sensor_channels(
    given: Sequence[Channel], sensor: str, bands: Sequence[str] = ()
) -> tuple[Channel, ...]:
    """The channels of a sensor that the given ones can serve; errors as for `as_sensor`.

    Args:
        given: What there is.
        sensor: Name in the catalogue, or the path of a sensor file.
        bands: Names of the sensor's bands, if not all of them.
    """
    found = load_sensor(sensor)
    plan = BandPlan.match(found.select(*bands) if bands else found.channels, given)
    if not plan.matches:
        raise MissingBandsError(
            f"none of the bands of {sensor} can be made from {', '.join(b.name for b in given)}",
            plan.missing,
        )
    return tuple(match.wanted for match in plan.matches)


def see_as(chips: ChipDataset, sensor: str, bands: Sequence[str] = ()) -> ChipDataset:
    """The same chips, labels and all, as another sensor would deliver them; see `as_sensor`.

    Args:
        chips: Of any sensor. They stay as they are.
        sensor: Name in the catalogue, or the path of a sensor file.
        bands: Names of the sensor's bands, if not all of them.

    Raises:
        MissingBandsError: If the chips' bands serve none of the sensor's.
        InputError: If there is no such sensor, or it has no such band.
    """
    seen = ChipDataset(
        _SeenChips(chips._source, sensor, bands),
        classes=chips.classes,
        task=chips.task,
        multi_label=chips.multi_label,
        cache=chips._cache is not None,
    )
    return seen.subset(chips._indices)


class _SeenChips:
    """A source of chips, see `rasters._chip_source.ChipSource`, by way of another one."""

    def __init__(self, source: ChipSource, sensor: str, bands: Sequence[str]) -> None:
        self._source = source
        self.bands = sensor_channels(source.bands, sensor, bands)
        self.ids = source.ids
        self.groups = source.groups

    def read(self, index: int) -> Item:
        """One chip as an item of `ChipDataset`."""
        item = self._source.read(index)
        plan = BandPlan.match(self.bands, self._source.bands)
        valid = plan.apply_valid(item["valid"])
        # A mix of bands of which one is invalid would not be 0.
        return item | {"image": plan.apply(item["image"]).masked_fill(~valid, 0), "valid": valid}

    def target(self, index: int) -> torch.Tensor | None:
        """A chip's label or mask."""
        return self._source.target(index)

    def locate(self, index: int) -> tuple[float, float] | None:
        """Longitude and latitude of a chip's centre; None if it is nowhere told."""
        return self._source.locate(index)

    def digest(self, index: int) -> str:
        """SHA-256 of a chip; the data set's own counts the bands."""
        return self._source.digest(index)
