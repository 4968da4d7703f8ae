"""Distillation: a slimmed specialist learns to give what the whole one gave, from images alone.

Shape suffixes: B batch, C channels, H height, W width, K classes or targets.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics import MeanMetric

from sensors.errors import InputError
from specialists.augment import Augment, Batch
from specialists.model import Specialist
from specialists.module import SpecialistModule
from specialists.recipe import SpecialistLearningConfig
from specialists.task_spec import TaskSpec

_TEMPERATURE = 2.0  # of the answers that are compared (arXiv 1503.02531, section 2)


class DistilTask(SpecialistModule[Specialist]):
    """A specialist that learns from another one: the features of every level, and the answers.

    Labels are not looked at. A level that is narrower than the teacher's is compared through a
    linear layer, which learns with it and is not kept (FitNets, arXiv 1412.6550).

    Args:
        specialist: The network that learns.
        teacher: What it learns from; of the same task and bands.
        recipe: How.

    Raises:
        InputError: If the recipe is not one, or mixes labels.
    """

    def __init__(
        self, specialist: Specialist, teacher: Specialist, recipe: SpecialistLearningConfig
    ) -> None:
        super().__init__(specialist, recipe)
        if recipe.augment.mixup or recipe.augment.cutmix:
            raise InputError(
                "mixup and cutmix mix labels, and distillation reads none; "
                "set trainer.augment.mixup=0 trainer.augment.cutmix=0"
            )
        self.augment = Augment(recipe.augment, specialist.spec)
        # In a tuple it is no part of this module: its weights belong into no checkpoint.
        self._teacher = (teacher.freeze(),)
        self.bridges = nn.ModuleList(
            nn.Identity() if own == wanted else nn.Conv2d(own, wanted, kernel_size=1)
            for own, wanted in zip(
                specialist.feature_info.channels(), teacher.feature_info.channels(), strict=True
            )
        )
        self.validation_error = MeanMetric()

    def on_fit_start(self) -> None:
        """Bring the teacher to where the images are."""
        self._teacher[0].to(self.device)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Error of one batch."""
        batch = self.augment({name: batch[name] for name in ("image", "valid")})
        loss = self.compare(batch["image"], batch["valid"])
        self.log_loss(loss, len(batch["image"]))
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Count one batch of the selection split."""
        count = len(batch["image"])
        self.validation_error.update(self.compare(batch["image"], batch["valid"]), count)

    def on_validation_epoch_end(self) -> None:
        """Log the error, by which the best weights are chosen."""
        self.log("val_distil", self.validation_error.compute(), prog_bar=True, sync_dist=True)
        self.validation_error.reset()

    def compare(self, x_BCHW: Tensor, valid: Tensor) -> Tensor:
        """Error of the features, as the mean over the levels, and of the answers, added up.

        That of a level is the mean squared error in units of the teacher's variance.
        """
        x_BCHW = self.arrange(x_BCHW)
        with torch.no_grad():
            wanted, wanted_answers = self._teacher[0].forward_all(x_BCHW, valid=valid)
        levels, answers = self.specialist.forward_all(x_BCHW, valid=valid)
        errors = [
            F.mse_loss(bridge(level), goal) / goal.var().clamp_min(1e-6)
            for bridge, level, goal in zip(self.bridges, levels, wanted, strict=True)
        ]
        return torch.stack(errors).mean() + answer_error(
            self.specialist.spec, answers, wanted_answers
        )


def answer_error(spec: TaskSpec, answers: Tensor, wanted: Tensor) -> Tensor:
    """How far raw outputs are from those wanted: 0 where they say the same.

    Args:
        spec: The task.
        answers: Raw outputs (B, K) or (B, K, H, W).
        wanted: Of the same shape; for similarity search, vectors of any width, which are not
            compared.

    Returns:
        A divergence of the probabilities, or for regression the mean squared error.
    """
    if spec.task == "similarity-search":
        return answers.new_zeros(())
    if spec.task == "regression":
        return F.mse_loss(answers, wanted)
    answers, wanted = answers / _TEMPERATURE, wanted / _TEMPERATURE
    if spec.multi_label:
        error = _cross_entropy(answers, wanted) - _cross_entropy(wanted, wanted)
    else:
        difference: Any = wanted.log_softmax(1) - answers.log_softmax(1)
        error = (wanted.softmax(1) * difference).sum(1).mean()
    return error * _TEMPERATURE**2


def _cross_entropy(logits: Tensor, wanted: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, wanted.sigmoid())
