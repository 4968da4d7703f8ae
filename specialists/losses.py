"""The loss of each task: ignored pixels, class weights and label smoothing included.

Shape suffixes: B batch, K classes or targets, H height, W width.
"""

import torch
from segmentation_models_pytorch.losses import DiceLoss
from torch import Tensor, nn
from torch.nn import functional

from rasters import IGNORE_INDEX
from sensors import InputError
from specialists.metrics import flatten_targets
from specialists.task_spec import TaskSpec

LOSSES = ("default", "cross-entropy-dice", "mse")


class TaskLoss(nn.Module):
    """The training loss of one task.

    `default` is cross entropy for classes, binary cross entropy for multi-label and Huber for
    regression. `cross-entropy-dice` adds the Dice loss to a segmentation's cross entropy, `mse`
    replaces Huber. Regression compares on the network's own scale, where every target has
    deviation 1.

    Args:
        spec: The specialist whose task it is.
        kind: One of `LOSSES`.
        label_smoothing: Share of the probability spread evenly over all classes, in 0..1.
        weight_K: Weight of each class (of its positives for multi-label), or None.

    Raises:
        InputError: If the loss is unknown or belongs to another task.
    """

    def __init__(
        self,
        spec: TaskSpec,
        kind: str = "default",
        label_smoothing: float = 0.0,
        weight_K: Tensor | None = None,
    ) -> None:
        super().__init__()
        tasks = {"cross-entropy-dice": "semantic-segmentation", "mse": "regression"}
        if kind not in LOSSES:
            raise InputError(f"trainer.loss {kind!r} is not one of {', '.join(LOSSES)}")
        if tasks.get(kind, spec.task) != spec.task:
            raise InputError(
                f"trainer.loss {kind} is for {tasks[kind]}, and the task is {spec.task}"
            )
        self.spec = spec
        self.kind = kind
        self.label_smoothing = label_smoothing
        self.weight_K: Tensor | None
        self.target_mean_K: Tensor
        self.target_std_K: Tensor
        self.register_buffer("weight_K", weight_K, persistent=False)
        self.register_buffer("target_mean_K", torch.tensor(spec.target_mean), persistent=False)
        self.register_buffer("target_std_K", torch.tensor(spec.target_std), persistent=False)
        self.dice = DiceLoss("multiclass", ignore_index=IGNORE_INDEX)

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Mean loss of a batch, 0 where nothing is labelled.

        Args:
            prediction: The model's raw output, (B, K) or (B, K, H, W).
            target: As for `TaskMetrics.update`; a scene's label may also be a distribution (B, K).
        """
        if self.spec.task == "regression":
            rows, targets = flatten_targets(prediction, target)
            if len(rows) == 0:
                return prediction.sum() * 0
            targets = (targets - self.target_mean_K) / self.target_std_K
            return (functional.mse_loss if self.kind == "mse" else functional.huber_loss)(
                rows, targets
            )
        if self.spec.multi_label:
            smooth = target * (1 - self.label_smoothing) + self.label_smoothing / 2
            return functional.binary_cross_entropy_with_logits(
                prediction, smooth, pos_weight=self.weight_K
            )
        if not target.is_floating_point() and not (target != IGNORE_INDEX).any():
            return prediction.sum() * 0
        loss = functional.cross_entropy(
            prediction,
            target,
            weight=self.weight_K,
            ignore_index=-100 if target.is_floating_point() else IGNORE_INDEX,
            label_smoothing=self.label_smoothing,
        )
        return loss + self.dice(prediction, target) if self.kind == "cross-entropy-dice" else loss


def balance_weights(counts_K: Tensor, total: int | None = None) -> Tensor:
    """Class weights that give every class the same say.

    Args:
        counts_K: Training samples (or pixels) of each class, all above 0 unless multi-label, where
            a class without a positive has no positive to weigh.
        total: Number of samples, for multi-label only: then the weight of a positive is negatives
            over positives, otherwise it is mean count over count (scikit-learn's `balanced`).
    """
    if total is not None:
        return (total - counts_K) / counts_K.clamp(min=1)
    return counts_K.float().mean() / counts_K
