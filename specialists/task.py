"""Training of one specialist as a LightningModule.

Shape suffixes: B batch, C channels, H height, W width, K classes or targets.
"""

from dataclasses import dataclass

from torch import Tensor

from specialists.augment import Augment, Batch
from specialists.losses import TaskLoss
from specialists.metrics import TaskMetrics, selection_metric
from specialists.module import Network, SpecialistModule
from specialists.recipe import SpecialistLearningConfig
from specialists.targets import target_of


@dataclass
class RecipeConfig(SpecialistLearningConfig):
    """How the weights of a task are learned.

    Args:
        loss: One of `specialists.losses.LOSSES`.
        label_smoothing: Share of a target spread over all classes.
        class_weights: `none`, or `balanced` by the counts of the training split.
    """

    loss: str = "default"
    label_smoothing: float = 0.0
    class_weights: str = "none"


class SpecialistTask(SpecialistModule[Network]):
    """A specialist with its loss, metrics, optimizer and augmentation.

    It validates what `TaskNetwork.predict` says, in physical units, and logs `val_<metric>`.

    Args:
        specialist: The network that learns.
        recipe: How.
        class_weights: Weight of each class in the loss (K,), or None.

    Raises:
        InputError: If the recipe does not fit the task.
    """

    def __init__(
        self, specialist: Network, recipe: RecipeConfig, class_weights: Tensor | None = None
    ) -> None:
        super().__init__(specialist, recipe)
        self.loss = TaskLoss(specialist.spec, recipe.loss, recipe.label_smoothing, class_weights)
        self.augment = Augment(recipe.augment, specialist.spec)
        self.validation_metrics = TaskMetrics(specialist.spec)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Loss of one batch."""
        batch = self.augment(batch)
        outputs = self.specialist(self.arrange(batch["image"]), valid=batch["valid"])
        loss: Tensor = self.loss(outputs, target_of(batch))
        self.log_loss(loss, len(outputs))
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Count one batch of the selection split."""
        prediction = self.specialist.predict(self.arrange(batch["image"]), valid=batch["valid"])
        self.validation_metrics.update(prediction, target_of(batch))

    def on_validation_epoch_end(self) -> None:
        """Log the scores that are plain numbers; the progress bar shows the one that selects."""
        shown, _ = selection_metric(self.specialist.spec)
        for name, value in self.validation_metrics.compute().items():
            if not isinstance(value, dict):
                self.log(f"val_{name}", value, prog_bar=name == shown, sync_dist=True)
        self.validation_metrics.reset()
