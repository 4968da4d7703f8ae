"""Training of an adapted trunk: that of a specialist, with layers that learn at their own rate.

Shape suffixes: K classes.
"""

from typing import Any

from lightning.pytorch.utilities.types import OptimizerLRScheduler
from timm.optim import param_groups_layer_decay  # type: ignore[attr-defined]
from torch import Tensor

from router.adaptation.modes import ModeConfig, choose_weights
from router.adapted import AdaptedTrunk
from specialists.recipe import configure_adamw
from specialists.task import RecipeConfig, SpecialistTask


class AdaptTask(SpecialistTask[AdaptedTrunk]):
    """An adapted trunk with its loss, metrics, optimizer and augmentation.

    Args:
        network: What learns.
        recipe: How.
        mode: Which of its weights.
        class_weights: Weight of each class in the loss (K,), or None.

    Raises:
        InputError: If the recipe does not fit the task, or the mode does not fit the trunk.
    """

    def __init__(
        self,
        network: AdaptedTrunk,
        recipe: RecipeConfig,
        mode: ModeConfig,
        class_weights: Tensor | None = None,
    ) -> None:
        super().__init__(network, recipe, class_weights)
        choose_weights(network, mode)
        self.mode = mode

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The weights that learn, each with its learning rate and weight decay."""
        groups: list[dict[str, Any]] = param_groups_layer_decay(
            self.specialist, self.learning.weight_decay, layer_decay=self.mode.layer_decay
        )
        for group in groups:
            group["lr"] = self.learning.lr * group.pop("lr_scale")
        return groups

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW, the learning rate of a layer falling with its distance from the head."""
        steps = int(self.trainer.estimated_stepping_batches)
        return configure_adamw(self, self.learning, steps, self.betas, self.parameter_groups())
