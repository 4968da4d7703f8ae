"""What a trunk learns from: data sets of any bands, and what their bands look like together."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rasters import ChipDataset, measure_statistics
from rasters.statistics import BandStatistics
from router.band_statistics import add_statistics, band_identity
from router.pretraining.config import SourceConfig
from router.trunk_spec import TrunkSpec
from specialists.data import Splits, describe_splits, load_splits


@dataclass(frozen=True)
class Source:
    """A data set that a trunk learns from.

    Args:
        config: What it is.
        train: Chips to learn from.
        selection: Chips to choose weights by.
    """

    config: SourceConfig
    train: ChipDataset
    selection: ChipDataset

    @property
    def name(self) -> str:
        """Of the data set."""
        return self.config.data.name

    @property
    def digest(self) -> str:
        """SHA-256 of which chip is in which split."""
        return Splits({"train": self.train, "selection": self.selection}).digest()

    def describe(self) -> dict[str, Any]:
        """What the record of a training says of it."""
        data = self.config.data
        return {
            "name": self.name,
            "title": data.title,
            "licence": data.licence,
            "source": data.source,
            "weight": self.config.weight,
            "bands": [band.name for band in self.train.bands],
            "counts": {"train": len(self.train), "selection": len(self.selection)},
            "split_hash": self.digest,
            "split": describe_splits(data),
        }


def load_sources(configs: Sequence[SourceConfig], selection_chips: int) -> list[Source]:
    """Find the chips of every source; test splits are left alone.

    Args:
        configs: The sources.
        selection_chips: At most so many chips of a selection split are kept, spread over it.

    Raises:
        InputError: If files are missing or cannot be used, or a split is empty.
    """
    sources = []
    for config in configs:
        chips = load_splits(config.data).chips
        selection = chips["selection"]
        count = min(selection_chips, len(selection))
        spread = np.linspace(0, len(selection), count, endpoint=False).astype(int)
        sources.append(Source(config, chips["train"], selection.subset(spread.tolist())))
    return sources


def with_statistics(spec: TrunkSpec, sources: Sequence[Source]) -> TrunkSpec:
    """The spec with statistics of the sources' bands, measured on their training chips.

    Bands that it knows keep theirs, for the weights were learned with these.
    """
    measured = merge_statistics([measure_statistics(source.train) for source in sources])
    return add_statistics(spec, measured.bands, measured.mean, measured.std)


def merge_statistics(parts: Sequence[BandStatistics]) -> BandStatistics:
    """Statistics of several data sets as if they were one; a band that several have is merged.

    Every valid pixel counts the same. Bands without any are left out.
    """
    alike: dict[Any, list[tuple[Any, float, float, int]]] = {}
    for part in parts:
        for entry in zip(part.bands, part.mean, part.std, part.count, strict=True):
            if entry[3]:
                alike.setdefault(band_identity(entry[0]), []).append(entry)
    merged = []
    for entries in alike.values():
        mean_S, std_S, count_S = np.array([entry[1:] for entry in entries]).T
        mean = np.average(mean_S, weights=count_S)
        variance = np.average(std_S**2 + (mean_S - mean) ** 2, weights=count_S)
        merged.append((entries[0][0], float(mean), float(variance**0.5), int(count_S.sum())))
    bands, mean_C, std_C, count_C = zip(*merged, strict=True) if merged else ((), (), (), ())
    return BandStatistics(bands, mean_C, std_C, count_C)
