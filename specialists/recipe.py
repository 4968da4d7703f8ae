"""How weights are learned, whatever the task: optimizer, learning rate, order of things."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from timm.optim import param_groups_weight_decay  # type: ignore[attr-defined]
from torch import nn
from torch.optim.lr_scheduler import (
    CosineAnnealingLR,
    LinearLR,
    LRScheduler,
    OneCycleLR,
    SequentialLR,
)

from sensors import InputError
from specialists.augment import AugmentConfig

SCHEDULES = ("one-cycle", "cosine")


@dataclass
class LearningConfig:
    """How the weights are learned.

    Args:
        epochs: Passes over the training split.
        batch_size: Chips a step and device.
        lr: Highest learning rate of AdamW.
        weight_decay: Of everything but biases and norms.
        schedule: `one-cycle`, or `cosine` after a linear warm-up; both end near 0.
        warmup: Share of the steps in which the learning rate rises.
        gradient_clip: Largest norm of the gradient; 0 is off.
        ema: Decay of an exponential moving average of the weights; 0 is off. The average is what is
            validated and kept.
        patience: Epochs without a better score on the selection split before training stops; 0 is
            never.
    """

    epochs: int = 20
    batch_size: int = 64
    lr: float = 2e-3
    weight_decay: float = 0.05
    schedule: str = "one-cycle"
    warmup: float = 0.2
    gradient_clip: float = 1.0
    ema: float = 0.0
    patience: int = 0

    def check(self) -> None:
        """Refuse what is not one of the choices.

        Raises:
            InputError: If the schedule is unknown.
        """
        if self.schedule not in SCHEDULES:
            raise InputError(
                f"trainer.schedule {self.schedule!r} is not one of {', '.join(SCHEDULES)}"
            )


@dataclass
class SpecialistLearningConfig(LearningConfig):
    """How the weights of a specialist are learned.

    Args:
        channels_last: Keep pixels of all channels side by side in memory.
        augment: What may happen to a training batch.
    """

    channels_last: bool = True
    augment: AugmentConfig = field(default_factory=AugmentConfig)


@dataclass
class DeviceConfig:
    """Where the weights are learned.

    Args:
        accelerator, devices, strategy: Lightning's own switches; `devices=2` trains on two GPUs.
        amp: bfloat16 mixed precision on CUDA. Never on a CPU, where it is far slower.
        deterministic: Ask CUDA for reproducible kernels too.
        energy: Record the electricity that the training loop takes.
    """

    accelerator: str = "auto"
    devices: Any = 1
    strategy: str = "auto"
    amp: bool = True
    deterministic: bool = False
    energy: bool = True


@dataclass
class LoopConfig(LearningConfig, DeviceConfig):
    """How and where weights are learned."""


def configure_adamw(
    network: nn.Module,
    config: LearningConfig,
    steps: int,
    betas: tuple[float, float] = (0.9, 0.999),
    groups: Sequence[dict[str, Any]] | None = None,
) -> OptimizerLRScheduler:
    """AdamW, and a learning rate that changes with every step; what Lightning wants to be given.

    Args:
        network: What learns.
        config: How.
        steps: Of the whole training.
        betas: Of AdamW.
        groups: Weights with settings of their own; by default all that learn, with weight decay
            where it belongs.
    """
    groups = groups or param_groups_weight_decay(network, config.weight_decay)
    optimizer = torch.optim.AdamW(groups, lr=config.lr, betas=betas)
    scheduler = build_schedule(optimizer, config, steps)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def build_schedule(
    optimizer: torch.optim.Optimizer, config: LearningConfig, steps: int
) -> LRScheduler:
    """The learning rate of every one of `steps` steps."""
    if config.schedule == "one-cycle":
        highest = [group["lr"] for group in optimizer.param_groups]
        return OneCycleLR(optimizer, highest, total_steps=steps, pct_start=config.warmup)
    rising = round(steps * config.warmup)
    cosine = CosineAnnealingLR(optimizer, max(1, steps - rising))
    if rising == 0:
        return cosine
    warmup = LinearLR(optimizer, start_factor=1 / rising, total_iters=rising)
    return SequentialLR(optimizer, [warmup, cosine], milestones=[rising])
