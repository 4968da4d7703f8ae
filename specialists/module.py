"""What every training of a specialist's weights has in common, as a LightningModule."""

from typing import Generic, TypeVar

import lightning as L
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor

from specialists.network import TaskNetwork
from specialists.recipe import SpecialistLearningConfig, configure_adamw

Network = TypeVar("Network", bound=TaskNetwork)


class SpecialistModule(L.LightningModule, Generic[Network]):
    """A specialist with its optimizer; a subclass says what it learns from.

    Args:
        specialist: The network that learns.
        learning: How.
        betas: Of AdamW.

    Raises:
        InputError: If the recipe is not one.
    """

    def __init__(
        self,
        specialist: Network,
        learning: SpecialistLearningConfig,
        betas: tuple[float, float] = (0.9, 0.999),
    ) -> None:
        super().__init__()
        learning.check()
        self.specialist = specialist
        self.learning = learning
        self.betas = betas
        if learning.channels_last:
            specialist.to(memory_format=torch.channels_last)

    def arrange(self, x_BCHW: Tensor) -> Tensor:
        """The same pixels in the order of memory that the recipe asks for."""
        if not self.learning.channels_last:
            return x_BCHW
        return x_BCHW.contiguous(memory_format=torch.channels_last)

    def log_loss(self, loss: Tensor, count: int) -> None:
        """Log the training loss of a batch, and show it.

        Args:
            loss: Mean over the batch.
            count: Images in it.
        """
        self.log(
            "train_loss",
            loss,
            on_step=False,
            on_epoch=True,
            prog_bar=True,
            batch_size=count,
            sync_dist=True,
        )

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW on all weights, and a learning rate that changes with every step."""
        steps = int(self.trainer.estimated_stepping_batches)
        return configure_adamw(self, self.learning, steps, self.betas)
