"""How well the parts of an ensemble answer, and a brief training of what is their own.

Shape suffixes: n rows asked for.
"""

import math
from copy import deepcopy
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from rasters.progress import show_progress
from router.pruning.parts import Parts
from router.pruning.recording import Recording
from sensors.errors import InputError
from specialists.losses import TaskLoss
from specialists.metrics import TaskMetrics, selection_metric


@dataclass(frozen=True)
class Worth:
    """How well an ensemble answers the labels of a split.

    Args:
        score: Its main metric.
        loss: Of its task, mean over the batches; it tells apart what scores alike.
        higher_is_better: Of the score.
    """

    score: float
    loss: float
    higher_is_better: bool

    def drop(self, start: "Worth") -> float:
        """By how much the score is worse than it was; below 0 where it is better."""
        fall = start.score - self.score
        return fall if self.higher_is_better else -fall

    @property
    def rank(self) -> tuple[float, float]:
        """Higher is better; of equal scores, the one with the lower loss."""
        return (self.score if self.higher_is_better else -self.score, -self.loss)


@dataclass
class Refit:
    """A brief training of fusion and head; the gate stays as it is.

    Args:
        epochs: Passes over the training chips; 0: none.
        lr: Learning rate of AdamW.
        weight_decay: Of AdamW.
        batch_size: Chips a step.
        distil: Weight of the distance to the whole ensemble's fused levels, beside the labels'
            loss.
        seed: Of the order.
    """

    epochs: int = 5
    lr: float = 3e-4
    weight_decay: float = 0.05
    batch_size: int = 32
    distil: float = 1.0
    seed: int = 0

    def check(self) -> None:
        """Refuse what is out of range.

        Raises:
            InputError: Says what is.
        """
        least = {"epochs": 0, "batch_size": 1, "weight_decay": 0, "distil": 0}
        for name, limit in least.items():
            if not limit <= getattr(self, name) < math.inf:
                raise InputError(f"refit.{name}={getattr(self, name)} is not {limit} or more")
        if not 0 < self.lr < math.inf:
            raise InputError(f"refit.lr={self.lr} is not above 0")


@torch.no_grad()
def judge(parts: Parts, recording: Recording, batch_size: int = 64) -> Worth:
    """Score an ensemble's parts on what was recorded of a split."""
    task = parts.task[0].spec
    metrics, loss = TaskMetrics(task), TaskLoss(task)
    losses = []
    for rows in torch.split(torch.arange(len(recording)), batch_size):
        outputs, answers = parts.answer(recording, rows)
        metrics.update(answers, recording.targets[rows])
        losses.append(float(loss(outputs, recording.targets[rows])) * len(rows))
    name, best = selection_metric(task)
    return Worth(metrics.compute()[name], sum(losses) / len(recording), best == "max")


def refit(
    parts: Parts, whole: Parts, train: Recording, selection: Recording, settings: Refit
) -> Worth:
    """Train fusion and head for some epochs, and keep the best of them, the start included.

    Args:
        parts: What learns.
        whole: Of the whole ensemble, whose fused levels are imitated.
        train: Of the training chips.
        selection: Of the chips that decide which epoch is best.
        settings: How.
    """
    best, kept = judge(parts, selection), deepcopy(parts.state_dict())
    learning = [*parts.fusion.parameters(), *parts.head.parameters()]
    optimizer = torch.optim.AdamW(learning, settings.lr, weight_decay=settings.weight_decay)
    steps = -(-len(train) // settings.batch_size) * settings.epochs
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(steps, 1))
    loss = TaskLoss(parts.task[0].spec)
    generator = torch.Generator().manual_seed(settings.seed)
    for _ in show_progress(range(settings.epochs), "Fusion and head"):
        order_N = torch.randperm(len(train), generator=generator)
        for rows_n in torch.split(order_N, settings.batch_size):
            outputs, levels = parts(train, rows_n)
            total = loss(outputs, train.targets[rows_n])
            if settings.distil:
                total = total + settings.distil * _distance(levels, whole, train, rows_n)
            optimizer.zero_grad()
            torch.autograd.backward(total)
            torch.nn.utils.clip_grad_norm_(learning, 1.0)
            optimizer.step()
            schedule.step()
        found = judge(parts, selection)
        if found.rank > best.rank:
            best, kept = found, deepcopy(parts.state_dict())
    parts.load_state_dict(kept)
    return best


def _distance(levels: list[Tensor], whole: Parts, train: Recording, rows_n: Tensor) -> Tensor:
    """Mean squared difference of the fused levels, in units of the whole ensemble's variance."""
    with torch.no_grad():
        _, wanted = whole(train, rows_n)
    distances = [
        F.mse_loss(level, target) / target.var().clamp_min(1e-6)
        for level, target in zip(levels, wanted, strict=True)
    ]
    return torch.stack(distances).mean()
