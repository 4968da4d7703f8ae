"""Chips as an encoder gets to see them.

Tensor shapes: C bands, H rows, W columns.
"""

from dataclasses import dataclass
from typing import Any

from torch.utils.data import Dataset, Subset

from evaluation.bands import missing, serve
from rasters import ChipDataset
from rasters.resize import resize_images
from rasters.sensing import as_sensor, sensor_channels
from sensors import BandPlan, Channel, InputError


@dataclass(frozen=True)
class Transform:
    """What is done to chips before an encoder sees them, in this order.

    Args:
        drop_bands: Names of the data's bands that are taken away.
        as_sensor: Sensor that is to have taken the images, see `rasters.sensing.as_sensor`.
        fill_missing: Bands of the encoder that are not there are given as invalid; otherwise the
            encoder refuses such chips.
        image_size: Edge in pixels that chips are resized to, bilinearly; masks stay as they are.
    """

    drop_bands: tuple[str, ...] = ()
    as_sensor: str | None = None
    fill_missing: bool = False
    image_size: int | None = None


class ChipView(Dataset[dict[str, Any]]):
    """A data set whose images went through a transform.

    Args:
        chips: The data set.
        wanted: The encoder's bands; None: it takes any.
        transform: What is done.

    Attributes:
        bands: What the layers of every image measure.

    Raises:
        InputError: If a band to drop is not there, or none is left.
        MissingBandsError: If the encoder needs a band that is not there, or, filled up, all of
            them are missing.
    """

    def __init__(
        self, chips: ChipDataset, wanted: tuple[Channel, ...] | None, transform: Transform
    ) -> None:
        self.chips = chips
        self.transform = transform
        names = [band.name for band in chips.bands]
        unknown = [name for name in transform.drop_bands if name not in names]
        if unknown:
            raise InputError(
                f"no band {', '.join(unknown)} to drop; the data's bands are {', '.join(names)}"
            )
        self._kept = [k for k, name in enumerate(names) if name not in transform.drop_bands]
        if not self._kept:
            raise InputError(f"all bands are dropped ({', '.join(names)}); leave one")
        self._wanted = wanted if transform.fill_missing else None
        self.bands = tuple(chips.bands[k] for k in self._kept)
        if transform.as_sensor is not None:
            self.bands = sensor_channels(self.bands, transform.as_sensor)
        if wanted is not None:
            _check(wanted, self.bands, transform)
        self.bands = self._wanted or self.bands

    def __len__(self) -> int:
        return len(self.chips)

    def __getitem__(self, index: int) -> dict[str, Any]:
        chip = self.chips[index]
        stack = (chip["image"], self.chips.bands, chip["valid"])
        if len(self._kept) < len(self.chips.bands):
            kept = tuple(self.chips.bands[k] for k in self._kept)
            stack = (stack[0][self._kept], kept, stack[2][self._kept])
        if self.transform.as_sensor is not None:
            stack = as_sensor(*stack, self.transform.as_sensor)
        if self._wanted is not None:
            stack = serve(*stack, self._wanted)
        image_CHW, _, valid_CHW = stack
        if self.transform.image_size is not None:
            size = (self.transform.image_size, self.transform.image_size)
            image_1CHW, valid_1CHW = resize_images(image_CHW[None], valid_CHW[None], size)
            image_CHW, valid_CHW = image_1CHW[0], valid_1CHW[0]
        return chip | {"image": image_CHW, "valid": valid_CHW}

    def rest(self, start: int) -> Subset[dict[str, Any]]:
        """The chips from one on."""
        return Subset(self, range(start, len(self)))


def _check(wanted: tuple[Channel, ...], given: tuple[Channel, ...], transform: Transform) -> None:
    """Tell what is missing before any file is read."""
    absent = missing(wanted, given)
    if absent and (not transform.fill_missing or len(absent) == len(wanted)):
        BandPlan.match(wanted, given).require()
