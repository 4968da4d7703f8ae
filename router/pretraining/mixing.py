"""Which chips make which batch: an order that follows from seed and epoch alone.

Array shapes: S sources.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from torch.utils.data import Sampler

from router.pretraining.sources import Source


class Draw(NamedTuple):
    """One batch.

    Args:
        source: Number of its source.
        chips: Numbers of its chips.
        seed: Decides where chips are cut and how they are turned; without it, they are cut from
            their middle and left as they are.
    """

    source: int
    chips: tuple[int, ...]
    seed: int | None = None


class MixedSampler(Sampler[Draw]):
    """Training batches: each source as often as its share says, in random order.

    In an epoch, a source's number of batches is at most one off its share, and right on average
    (systematic sampling). Within it, no chip comes again before all have come.

    Args:
        counts: Training chips of every source.
        shares: What part of the batches each source gets; they sum to 1.
        batch_size: Chips a batch and process.
        steps: Batches an epoch and process.
        seed: Of everything.
        processes: How many train together; each gets chips of its own, of the same sources.
        rank: Which of them this is.
    """

    def __init__(
        self,
        counts: Sequence[int],
        shares: Sequence[float],
        *,
        batch_size: int,
        steps: int,
        seed: int,
        processes: int = 1,
        rank: int = 0,
    ) -> None:
        self.counts = counts
        self.shares = shares
        self.batch_size = batch_size
        self.steps = steps
        self.seed = seed
        self.processes = processes
        self.rank = rank
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Draw for this epoch from now on; Lightning calls it."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[Draw]:
        random = np.random.default_rng([self.seed, self.epoch])
        edges_S = np.floor(np.cumsum(self.shares) * self.steps + random.random()).astype(int)
        edges_S[-1] = self.steps
        batches_S = np.diff(edges_S, prepend=0)
        wanted = self.batch_size * self.processes
        chips = [
            iter(
                _deal(count, batches * wanted, random).reshape(
                    batches, self.processes, self.batch_size
                )
            )
            for count, batches in zip(self.counts, batches_S, strict=True)
        ]
        for source in random.permutation(np.repeat(np.arange(len(batches_S)), batches_S)):
            seeds = random.integers(2**63, size=self.processes)
            mine = next(chips[source])[self.rank]
            yield Draw(int(source), tuple(mine.tolist()), int(seeds[self.rank]))


def _deal(count: int, wanted: int, random: np.random.Generator) -> np.ndarray:
    """Numbers of `wanted` chips of `count`: one random order after the other."""
    rounds = -(-wanted // count)
    return np.concatenate([np.empty(0, int), *(random.permutation(count) for _ in range(rounds))])[
        :wanted
    ]


def share_out(sources: Sequence[Source]) -> list[float]:
    """What part of the batches each source gets: in proportion to weight times root of chips.

    Between in proportion to the chips, where small sources would hardly be seen, and the same for
    all, where their few chips would be seen over and over.
    """
    amounts = [source.config.weight * len(source.train) ** 0.5 for source in sources]
    return [amount / sum(amounts) for amount in amounts]


def selection_draws(
    counts: Sequence[int], batch_size: int, processes: int = 1, rank: int = 0
) -> list[Draw]:
    """Batches that hold the chips of every source once, source by source.

    Args:
        counts: Selection chips of every source.
        batch_size: Chips a batch.
        processes: How many share them; each gets some of every source.
        rank: Which of them this is.
    """
    draws = []
    for source, count in enumerate(counts):
        mine = range(rank, count, processes) or range(count)
        draws += [
            Draw(source, tuple(mine[start : start + batch_size]))
            for start in range(0, len(mine), batch_size)
        ]
    return draws
