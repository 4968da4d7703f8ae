"""What an encoder that depends on data is built on: facts of the training split."""

from dataclasses import dataclass
from typing import Self

from rasters import ChipDataset, measure_statistics
from sensors import Channel, InputError


@dataclass(frozen=True)
class DataContext:
    """What a data set's training chips look like.

    Args:
        bands: What each layer of an image measures.
        mean, std: Per band, over the valid pixels of the training split, in physical units.
        gsd: Ground sample distance in metres.
        chip_size: Edge of a chip in pixels.
    """

    bands: tuple[Channel, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    gsd: float
    chip_size: int

    @classmethod
    def measure(cls, train: ChipDataset, gsd: float | None = None) -> Self:
        """The context of a training split; every chip is read once.

        Args:
            train: The training chips.
            gsd: Ground sample distance in metres, where the bands do not say.

        Raises:
            InputError: If the size of a pixel is not known.
        """
        known = [band.gsd for band in train.bands if band.gsd is not None]
        if gsd is None and not known:
            raise InputError("the bands do not say how large a pixel is; give data.gsd in metres")
        statistics = measure_statistics(train)
        return cls(
            bands=train.bands,
            mean=statistics.mean,
            std=statistics.std,
            gsd=gsd or min(known),
            chip_size=int(train[0]["image"].shape[-1]),
        )

    def positions(self, names: list[str] | None) -> tuple[int, ...]:
        """Where the bands of these names are, in the order of the names; all without names.

        Raises:
            InputError: If a name is not among the bands.
        """
        own = [band.name for band in self.bands]
        unknown = [name for name in names or () if name not in own]
        if unknown:
            raise InputError(
                f"no band {', '.join(unknown)} in the data; its bands are {', '.join(own)}"
            )
        return tuple(range(len(own)) if names is None else map(own.index, names))
