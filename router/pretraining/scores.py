"""How well a trunk that is being pretrained reconstructs, source by source, and pictures of it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback

from rasters.progress import show_progress
from router.pretraining.batches import SourceBatches
from router.pretraining.mixing import Draw, selection_draws
from router.pretraining.picture import draw_reconstructions
from router.pretraining.task import PretrainTask
from specialists.run import RunFolder

SHOWN = 4

Scores = dict[str, dict[str, float]]


@torch.no_grad()
def measure_errors(task: PretrainTask, batches: SourceBatches, batch_size: int) -> Scores:
    """Mean squared error at hidden pixels (`mse`) and that of saying each patch's mean (`floor`).

    Args:
        task: In evaluation mode, on any device.
        batches: Of every source.
        batch_size: Chips at once; with it, what is hidden changes.

    Returns:
        For every source by name.
    """
    totals = {name: torch.zeros(3, dtype=torch.float64) for name in batches.names}
    draws = selection_draws([len(chips) for chips in batches.chips], batch_size)
    for number, draw in enumerate(show_progress(draws, "Reconstructing")):
        batch = batches[draw]
        made = task.reconstruct(
            batch["image"].to(task.device),
            batch["bands"],
            batch["valid"].to(task.device),
            generator=torch.Generator().manual_seed(number),
        )
        count = made.count()
        parts = torch.stack([made.error() * count, made.floor() * count, count])
        totals[batch["source"]] += parts.cpu()
    scores: Scores = {}
    for name, (error, floor, count) in totals.items():
        weight = count.clamp(min=1)
        scores[name] = {"mse": float(error / weight), "floor": float(floor / weight)}
    return scores


class RecordStart(Callback):
    """Records what a training goes on from, and how well it reconstructs before it learns more.

    Args:
        run: Where this is written, as `before.json`.
        record: What is gone on from.
        batches: Selection chips of every source; None to score none, for want of a decoder.
        batch_size: As for `measure_errors`.
    """

    def __init__(
        self,
        run: RunFolder,
        record: Mapping[str, Any],
        batches: SourceBatches | None,
        batch_size: int,
    ) -> None:
        self.run = run
        self.record = record
        self.batches = batches
        self.batch_size = batch_size

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Score and write, unless this training was begun earlier."""
        assert isinstance(pl_module, PretrainTask)
        if not trainer.is_global_zero or trainer.global_step:
            return
        scores = None
        if self.batches is not None:
            pl_module.eval()
            scores = measure_errors(pl_module, self.batches, self.batch_size)
            pl_module.train()
        self.run.write_json("before.json", {"start": self.record, "scores": scores})


class DrawEachEpoch(Callback):
    """Draws a few selection chips of every source after each epoch.

    Args:
        folder: For the pictures, `epoch_XXX_<source>.png`.
        batches: Selection chips of every source.
    """

    def __init__(self, folder: Path, batches: SourceBatches) -> None:
        self.folder = folder
        self.batches = batches

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Draw."""
        assert isinstance(pl_module, PretrainTask)
        if not trainer.is_global_zero:
            return
        self.folder.mkdir(exist_ok=True)
        for number, name in enumerate(self.batches.names):
            count = min(SHOWN, len(self.batches.chips[number]))
            batch = self.batches[Draw(number, tuple(range(count)))]
            file = self.folder / f"epoch_{trainer.current_epoch:03d}_{name}.png"
            draw_reconstructions(pl_module, batch["image"], batch["bands"], batch["valid"], file)


def compare(
    before: Mapping[str, Mapping[str, float]], now: Scores, earlier: list[str]
) -> dict[str, Any]:
    """What going on with a trunk did to what it could before.

    Args:
        before: Scores of every source before.
        now: The same after.
        earlier: Sources that the trunk had learned from.

    Returns:
        For every source whether it was `seen_before`, its error `before` and `now`, and the ratio
        of the two; and the names of earlier sources that are not scored.
    """
    return {
        "sources": {
            name: {
                "seen_before": name in earlier,
                "before": before[name]["mse"],
                "now": scores["mse"],
                "ratio": scores["mse"] / before[name]["mse"],
            }
            for name, scores in now.items()
        },
        "not_scored": [name for name in earlier if name not in now],
    }
