"""Training of an ensemble: that of a specialist, with a gate that has to try its members.

Shape suffixes: K classes.
"""

from lightning.pytorch.utilities.types import OptimizerLRScheduler
from timm.optim import param_groups_weight_decay  # type: ignore[attr-defined]
from torch import Tensor

from router.composing.config import ComposeTrainerConfig
from router.composing.sensor_dropout import SensorDropout
from router.composing.terms import information, load_balance, mean_entropy, watch_gate
from router.ensemble_spec import TRUNK_GATES
from router.task_ensemble import TaskEnsemble
from specialists.augment import Augment, Batch
from specialists.recipe import configure_adamw
from specialists.task import SpecialistTask
from specialists.task_spec import TaskSpec


class ComposeAugment(Augment):
    """A specialist's augmentation, after which images may lose a sensor.

    Args:
        recipe: What may happen.
        spec: The task.
    """

    def __init__(self, recipe: ComposeTrainerConfig, spec: TaskSpec) -> None:
        super().__init__(recipe.augment, spec)
        self.lose_sensors = SensorDropout(spec.bands, recipe.sensor_dropout)

    def __call__(self, batch: Batch) -> Batch:
        """Augment a batch, see `Augment`."""
        return self.lose_sensors(super().__call__(batch))


class ComposeTask(SpecialistTask[TaskEnsemble]):
    """An ensemble with its loss, metrics, optimizer and augmentation.

    Gate, fusion and head learn; members and trunk are frozen and no part of its checkpoints.

    Args:
        network: What learns; it is set to training mode.
        recipe: How.
        class_weights: Weight of each class in the loss (K,), or None.

    Raises:
        InputError: If the recipe does not fit the task.
    """

    def __init__(
        self,
        network: TaskEnsemble,
        recipe: ComposeTrainerConfig,
        class_weights: Tensor | None = None,
    ) -> None:
        super().__init__(network, recipe, class_weights)
        self.recipe = recipe
        self.augment = ComposeAugment(recipe, network.spec)
        network.ensemble.gate.noise = recipe.noise
        # An ensemble that was opened from a file is in evaluation mode, which Lightning would keep.
        self.train()

    def on_train_epoch_start(self) -> None:
        """Set the gate's noise: it falls to 0 in the first half, and who was found is then used."""
        elapsed = self.current_epoch / max(self.recipe.epochs, 1)
        self.specialist.ensemble.gate.noise = self.recipe.noise * max(0.0, 1 - 2 * elapsed)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW, with a learning rate of its own for a gate that looks at the image.

        One step changes every weight by as much, and such a gate's scores are long sums: at the
        rate of the fusion it would settle on one member before anyone was heard.
        """
        ensemble, groups = self.specialist.ensemble, []
        looks = ensemble.spec.gate in TRUNK_GATES
        of_gate = set(map(id, ensemble.gate.parameters())) if looks else set()
        for group in param_groups_weight_decay(self, self.recipe.weight_decay):
            for is_gate, share in ((True, self.recipe.gate_lr), (False, 1.0)):
                weights = [w for w in group["params"] if (id(w) in of_gate) == is_gate]
                lr = self.recipe.lr * share
                groups += [{**group, "params": weights, "lr": lr}] if weights else []
        steps = int(self.trainer.estimated_stepping_batches)
        return configure_adamw(self, self.recipe, steps, groups=groups)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Loss of one batch, with what the gate adds to it."""
        with watch_gate(self.specialist.ensemble.gate) as decided:
            loss = super().training_step(batch, batch_idx)
        [routing] = decided
        terms = {
            "load_balance": load_balance(routing),
            "entropy": mean_entropy(routing),
            "information": information(routing),
        }
        for name, term in terms.items():
            self.log(
                f"train_{name}",
                term.detach(),
                on_step=False,
                on_epoch=True,
                batch_size=len(routing.weights_BM),
                sync_dist=True,
            )
            loss = loss + getattr(self.recipe, name) * term
        return loss
