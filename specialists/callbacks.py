"""Lightning callbacks that make a resumed run the same as one that was never interrupted.

Everything random in an epoch follows from the seed and the number of the epoch, so a run that
starts again from the checkpoint at the end of an epoch goes on as if it had not stopped.
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import (
    Callback,
    EarlyStopping,
    EMAWeightAveraging,
    LearningRateMonitor,
    ModelCheckpoint,
    RichProgressBar,
)

from specialists.energy import Energy, EnergyMeter


class SeedEachEpoch(Callback):
    """Seeds torch from (seed, epoch, process) before an epoch draws its first random number."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Seed the global generators of all devices."""
        state = np.random.SeedSequence([self.seed, trainer.current_epoch, trainer.global_rank])
        torch.manual_seed(int(state.generate_state(1)[0]))


class ProgressBar(RichProgressBar):
    """Lightning's progress bar, each epoch on a line that stays."""

    def __init__(self) -> None:
        super().__init__(leave=True)

    def get_metrics(
        self, trainer: L.Trainer, pl_module: L.LightningModule
    ) -> dict[str, int | str | float | dict[str, float]]:
        """The metrics without the number of the log file."""
        metrics = super().get_metrics(trainer, pl_module)
        return {name: value for name, value in metrics.items() if name != "v_num"}


class ResumableEarlyStopping(EarlyStopping):
    """Early stopping that remembers its decision when the process was killed right after it."""

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stop again where the resumed run had already been stopped."""
        trainer.should_stop = trainer.should_stop or self.wait_count >= self.patience


class BestCheckpoint(ModelCheckpoint):
    """The one best checkpoint, still known as such after the run folder was moved."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the best score, with the file's path in this run's folder."""
        if state_dict["best_k_models"]:
            [score] = state_dict["best_k_models"].values()
            path = self.format_checkpoint_name({})
            state_dict = state_dict | {
                "dirpath": self.dirpath,
                "best_model_path": path,
                "kth_best_model_path": path,
                "best_k_models": {path: score},
            }
        super().load_state_dict(state_dict)


class TrackEnergy(Callback):
    """Measures the electricity of the training loop; what a killed run used is in its checkpoint.

    Only the first process measures: it started the others, so they are counted with it.
    """

    def __init__(self) -> None:
        self._earlier: Energy | None = None
        self._meter: EnergyMeter | None = None

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Begin to measure."""
        if trainer.is_global_zero:
            self._meter = EnergyMeter()
            self._meter.start()

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """End the measurement."""
        self._stop()

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        """End the measurement."""
        self._stop()

    def _stop(self) -> None:
        if self._meter is not None:
            self._meter.stop()

    def read(self) -> Energy:
        """Electricity used so far, that of the run before it was resumed included."""
        now = None if self._meter is None else self._meter.read()
        readings = [reading for reading in (self._earlier, now) if reading is not None]
        if not readings:
            return Energy(None, "nothing was trained")
        for reading in readings:
            if reading.kwh is None:
                return reading
        return Energy(sum(reading.kwh or 0.0 for reading in readings), readings[-1].method)

    def state_dict(self) -> dict[str, Any]:
        """The reading so far."""
        return asdict(self.read())

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what the run used before it was interrupted."""
        self._earlier = Energy(**state_dict)


def build_callbacks(
    checkpoints: Path, *, monitor: str, mode: str, seed: int, patience: int, ema: float
) -> Sequence[Callback]:
    """The callbacks of a training run.

    Args:
        checkpoints: Folder for `best.ckpt` and `last.ckpt`.
        monitor: Name of the logged score that selects.
        mode: `max` or `min`, whichever is best.
        seed: Of the run.
        patience: Epochs without a better score before training stops; 0 is never.
        ema: Decay of the moving average of the weights; 0 is off.
    """
    callbacks: list[Callback] = [
        SeedEachEpoch(seed),
        ProgressBar(),
        LearningRateMonitor("epoch"),
    ]
    if ema:
        callbacks.append(EMAWeightAveraging(decay=ema))
    if patience:
        callbacks.append(
            ResumableEarlyStopping(monitor, mode=mode, patience=patience, check_finite=False)
        )
    # The state of `best` is part of `last`, therefore it is saved before. Both are whole
    # checkpoints: the moving average takes the place of the weights only in those.
    best = BestCheckpoint(
        checkpoints,
        "best",
        monitor=monitor,
        mode=mode,
        enable_version_counter=False,
        save_on_train_epoch_end=True,
    )
    last = ModelCheckpoint(
        checkpoints, "last", enable_version_counter=False, save_on_train_epoch_end=True
    )
    return [*callbacks, best, last]
