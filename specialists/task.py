"""Training of one specialist as a LightningModule.

Shape suffixes: B batch, C channels, H height, W width, K classes or targets.
"""

from dataclasses import dataclass, field

import lightning as L
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from timm.optim import param_groups_weight_decay  # type: ignore[attr-defined]
from torch import Tensor
from torch.optim.lr_scheduler import (
    CosineAnnealingLR,
    LinearLR,
    LRScheduler,
    OneCycleLR,
    SequentialLR,
)

from sensors import InputError
from specialists.augment import Augment, AugmentConfig, Batch
from specialists.losses import TaskLoss
from specialists.metrics import TaskMetrics, selection_metric
from specialists.model import Specialist
from specialists.targets import target_of

SCHEDULES = ("one-cycle", "cosine")


@dataclass
class RecipeConfig:
    """How the weights are learned.

    Args:
        epochs: Passes over the training split.
        batch_size: Chips a step and device.
        lr: Highest learning rate of AdamW.
        weight_decay: Of everything but biases and norms.
        schedule: `one-cycle`, or `cosine` after a linear warm-up; both end near 0.
        warmup: Share of the steps in which the learning rate rises.
        gradient_clip: Largest norm of the gradient; 0 is off.
        loss: One of `specialists.losses.LOSSES`.
        label_smoothing: Share of a target spread over all classes.
        class_weights: `none`, or `balanced` by the counts of the training split.
        ema: Decay of an exponential moving average of the weights; 0 is off. The average is what is
            validated and kept.
        patience: Epochs without a better score on the selection split before training stops; 0 is
            never.
        channels_last: Keep pixels of all channels side by side in memory.
        augment: What may happen to a training batch.
    """

    epochs: int = 20
    batch_size: int = 64
    lr: float = 2e-3
    weight_decay: float = 0.05
    schedule: str = "one-cycle"
    warmup: float = 0.2
    gradient_clip: float = 1.0
    loss: str = "default"
    label_smoothing: float = 0.0
    class_weights: str = "none"
    ema: float = 0.0
    patience: int = 0
    channels_last: bool = True
    augment: AugmentConfig = field(default_factory=AugmentConfig)


class SpecialistTask(L.LightningModule):
    """A specialist with its loss, metrics, optimizer and augmentation.

    It validates what `Specialist.predict` says, in physical units, and logs `val_<metric>`.

    Args:
        specialist: The network that learns.
        recipe: How.
        class_weights: Weight of each class in the loss (K,), or None.

    Raises:
        InputError: If the recipe does not fit the task.
    """

    def __init__(
        self, specialist: Specialist, recipe: RecipeConfig, class_weights: Tensor | None = None
    ) -> None:
        super().__init__()
        if recipe.schedule not in SCHEDULES:
            raise InputError(
                f"trainer.schedule {recipe.schedule!r} is not one of {', '.join(SCHEDULES)}"
            )
        self.specialist = specialist
        self.recipe = recipe
        self.loss = TaskLoss(specialist.spec, recipe.loss, recipe.label_smoothing, class_weights)
        self.augment = Augment(recipe.augment, specialist.spec)
        self.validation_metrics = TaskMetrics(specialist.spec)
        if recipe.channels_last:
            specialist.to(memory_format=torch.channels_last)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Loss of one batch."""
        batch = self.augment(batch)
        outputs = self.specialist(self._arrange(batch["image"]), valid=batch["valid"])
        loss: Tensor = self.loss(outputs, target_of(batch))
        self.log(
            "train_loss",
            loss,
            on_step=False,
            on_epoch=True,
            prog_bar=True,
            batch_size=len(outputs),
            sync_dist=True,
        )
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Count one batch of the selection split."""
        prediction = self.specialist.predict(self._arrange(batch["image"]), valid=batch["valid"])
        self.validation_metrics.update(prediction, target_of(batch))

    def on_validation_epoch_end(self) -> None:
        """Log the scores that are plain numbers; the progress bar shows the one that selects."""
        shown, _ = selection_metric(self.specialist.spec)
        for name, value in self.validation_metrics.compute().items():
            if not isinstance(value, dict):
                self.log(f"val_{name}", value, prog_bar=name == shown, sync_dist=True)
        self.validation_metrics.reset()

    def _arrange(self, x_BCHW: Tensor) -> Tensor:
        if not self.recipe.channels_last:
            return x_BCHW
        return x_BCHW.contiguous(memory_format=torch.channels_last)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW, and a learning rate that changes with every step."""
        groups = param_groups_weight_decay(self.specialist, self.recipe.weight_decay)
        optimizer = torch.optim.AdamW(groups, lr=self.recipe.lr)
        steps = int(self.trainer.estimated_stepping_batches)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": self._schedule(optimizer, steps), "interval": "step"},
        }

    def _schedule(self, optimizer: torch.optim.Optimizer, steps: int) -> LRScheduler:
        recipe = self.recipe
        if recipe.schedule == "one-cycle":
            return OneCycleLR(optimizer, recipe.lr, total_steps=steps, pct_start=recipe.warmup)
        rising = round(steps * recipe.warmup)
        cosine = CosineAnnealingLR(optimizer, max(1, steps - rising))
        if rising == 0:
            return cosine
        warmup = LinearLR(optimizer, start_factor=1 / rising, total_iters=rising)
        return SequentialLR(optimizer, [warmup, cosine], milestones=[rising])
