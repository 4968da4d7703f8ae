"""Training and selection batches of all sources, for Lightning."""

from collections.abc import Sequence
from typing import Any

import lightning as L
import torch
from torch.utils.data import DataLoader, Sampler

from router.pretraining.batches import SourceBatches
from router.pretraining.mixing import Draw, MixedSampler, selection_draws, share_out
from router.pretraining.sources import Source
from sensors import InputError


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
