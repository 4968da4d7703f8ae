"""Batches on their way to the network, in an order that follows from the seed."""

from typing import Any

import lightning as L
import torch
from torch.utils.data import DataLoader, DistributedSampler, default_collate

from rasters import ChipDataset
from sensors import InputError
from specialists.data import Splits


def collate(chips: list[dict[str, Any]]) -> dict[str, Any]:
    """Stack chips to a batch.

    Raises:
        InputError: If their sizes differ.
    """
    sizes = sorted({tuple(chip["image"].shape[-2:]) for chip in chips})
    if len(sizes) > 1:
        raise InputError(
            f"chips of different sizes, such as {sizes[0]} and {sizes[-1]} pixels; "
            "bring them to one with data.chip_size, or cut images and masks with data.tile"
        )
    batch: dict[str, Any] = default_collate(chips)
    return batch


class SpecialistData(L.LightningDataModule):
    """Batches of the training and selection splits.

    The order of an epoch is a function of the seed and the epoch alone. With several processes
    each gets its share.

    Args:
        splits: The chips.
        batch_size: Chips a batch and process.
        seed: Of the order.
        workers: Processes that read chips.
    """

    def __init__(self, splits: Splits, *, batch_size: int, seed: int, workers: int) -> None:
        super().__init__()
        self.chips = splits.chips
        self.batch_size = batch_size
        self.seed = seed
        self.workers = workers
        self.digest = splits.digest()

    def train_dataloader(self) -> DataLoader[dict[str, Any]]:
        """Shuffled batches; a last incomplete one is left out."""
        chips = self.chips["train"]
        return self._loader(chips, shuffle=True, drop_last=len(chips) >= self.batch_size)

    def val_dataloader(self) -> DataLoader[dict[str, Any]]:
        """All batches of the selection split."""
        return self._loader(self.chips["selection"], shuffle=False, drop_last=False)

    def state_dict(self) -> dict[str, Any]:
        """Kept in every checkpoint."""
        return {"digest": self.digest}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Refuse to go on with other data.

        Raises:
            InputError: If the chips of a split are not those of the interrupted run.
        """
        if state_dict["digest"] != self.digest:
            raise InputError(
                "the data changed since this run was interrupted: its splits hold other chips; "
                "give another run_dir, or overwrite=true to begin anew"
            )

    def _loader(
        self, chips: ChipDataset, *, shuffle: bool, drop_last: bool
    ) -> DataLoader[dict[str, Any]]:
        assert self.trainer is not None
        sampler: DistributedSampler[dict[str, Any]] = DistributedSampler(
            chips,
            num_replicas=self.trainer.world_size,
            rank=self.trainer.global_rank,
            shuffle=shuffle,
            seed=self.seed,
        )
        return DataLoader(
            chips,
            self.batch_size,
            sampler=sampler,
            collate_fn=collate,
            # Its own: making an iterator draws a number, and a resumed run makes it earlier.
            generator=torch.Generator().manual_seed(self.seed),
            drop_last=drop_last,
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
            pin_memory=torch.cuda.is_available(),
        )
