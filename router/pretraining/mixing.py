"""Batches of one source each, in an order and with crops that follow from seed and epoch alone.

Tensor shapes: B batch, C bands, H rows, W columns; S sources.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import lightning as L
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from rasters import ChipDataset
from rasters.resize import resize_images
from router.pretraining.sources import Source
from sensors import InputError


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


class SourceBatches(Dataset[dict[str, Any]]):
    """Batches by `Draw`: `image` (B, C, H, W), `valid`, `bands`, and the name of their `source`.

    Args:
        names: Of the sources.
        chips: Of every source.
        size: Edge of the images.
        turn: Mirror and turn those of a draw with a seed.
    """

    def __init__(
        self, names: Sequence[str], chips: Sequence[ChipDataset], size: int, turn: bool
    ) -> None:
        self.names = names
        self.chips = chips
        self.size = size
        self.turn = turn

    def __getitem__(self, draw: Draw) -> dict[str, Any]:
        random = None if draw.seed is None else np.random.default_rng(draw.seed)
        chips = self.chips[draw.source]
        images, valids = [], []
        for number in draw.chips:
            chip = chips[number]
            image_CHW, valid_CHW = fit_chip(chip["image"], chip["valid"], self.size, random)
            if random is not None and self.turn:
                turns, mirrored = random.integers(4), random.integers(2)
                image_CHW, valid_CHW = (
                    (x.flip(-1) if mirrored else x).rot90(int(turns), (-2, -1))
                    for x in (image_CHW, valid_CHW)
                )
            images.append(image_CHW)
            valids.append(valid_CHW)
        return {
            "image": torch.stack(images),
            "valid": torch.stack(valids),
            "bands": chips.bands,
            "source": self.names[draw.source],
        }


def fit_chip(
    image_CHW: Tensor, valid_CHW: Tensor, size: int, random: np.random.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """A square of `size` pixels: what is too large is cut, what is too small enlarged before.

    Args:
        image_CHW: Pixels.
        valid_CHW: True where one was measured.
        size: Edge wanted.
        random: Decides where it is cut; without it, from the middle.
    """
    height, width = image_CHW.shape[-2:]
    factor = size / min(height, width)
    if factor > 1:
        wanted = (max(size, round(height * factor)), max(size, round(width * factor)))
        image_BCHW, valid_BCHW = resize_images(image_CHW[None], valid_CHW[None], wanted)
        image_CHW, valid_CHW = image_BCHW[0], valid_BCHW[0]
    spare = (image_CHW.shape[-2] - size, image_CHW.shape[-1] - size)
    top, left = (rest // 2 if random is None else int(random.integers(rest + 1)) for rest in spare)
    place = (..., slice(top, top + size), slice(left, left + size))
    return image_CHW[place], valid_CHW[place]


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


class MixedData(L.LightningDataModule):
    """Batches of several sources, each batch of one.

    Args:
        sources: The sources.
        size: Edge of the images.
        turn: Mirror and turn training images.
        batch_size: Chips a batch and process.
        steps: Batches an epoch and process; if not given, as many as hold the training chips once.
        seed: Of the order and of crops.
        workers: Processes that read chips.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        *,
        size: int,
        turn: bool,
        batch_size: int,
        steps: int | None,
        seed: int,
        workers: int,
    ) -> None:
        super().__init__()
        names = [source.name for source in sources]
        self.sources = sources
        self.train_batches = SourceBatches(names, [part.train for part in sources], size, turn)
        self.selection_batches = SourceBatches(
            names, [part.selection for part in sources], size, turn=False
        )
        self.batch_size = batch_size
        self.steps = steps
        self.seed = seed
        self.workers = workers

    def train_dataloader(self) -> DataLoader[dict[str, Any]]:
        """Batches of all sources with a weight, mixed."""
        assert self.trainer is not None
        counts = [len(source.train) for source in self.sources]
        learned = sum(len(part.train) for part in self.sources if part.config.weight)
        sampler = MixedSampler(
            counts,
            share_out(self.sources),
            batch_size=self.batch_size,
            steps=self.steps or max(1, learned // (self.batch_size * self.trainer.world_size)),
            seed=self.seed,
            processes=self.trainer.world_size,
            rank=self.trainer.global_rank,
        )
        return self._loader(self.train_batches, sampler)

    def val_dataloader(self) -> DataLoader[dict[str, Any]]:
        """All selection chips, source by source."""
        assert self.trainer is not None
        counts = [len(source.selection) for source in self.sources]
        draws = selection_draws(
            counts, self.batch_size, self.trainer.world_size, self.trainer.global_rank
        )
        return self._loader(self.selection_batches, draws)

    def state_dict(self) -> dict[str, Any]:
        """Kept in every checkpoint."""
        return {"digests": {source.name: source.digest for source in self.sources}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Refuse to go on with other data.

        Raises:
            InputError: If the chips of a source are not those of the interrupted run.
        """
        changed = [
            source.name
            for source in self.sources
            if state_dict["digests"][source.name] != source.digest
        ]
        if changed:
            raise InputError(
                f"{', '.join(changed)} changed since this run was interrupted: splits hold other "
                "chips; give another run_dir, or overwrite=true to begin anew"
            )

    def _loader(
        self, batches: SourceBatches, draws: Sampler[Draw] | Sequence[Draw]
    ) -> DataLoader[dict[str, Any]]:
        return DataLoader(
            batches,
            batch_size=None,
            sampler=draws,
            # Its own: making an iterator draws a number, and a resumed run makes it earlier.
            generator=torch.Generator().manual_seed(self.seed),
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
            pin_memory=torch.cuda.is_available(),
        )
