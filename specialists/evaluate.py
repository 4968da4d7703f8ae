"""Scores of a network on chips: one pass, no training machinery."""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from rasters import ChipDataset
from rasters.progress import show_progress
from specialists.loading import collate
from specialists.metrics import Scores, TaskMetrics
from specialists.network import TaskNetwork
from specialists.targets import target_of


@torch.no_grad()
def evaluate(
    specialist: TaskNetwork,
    chips: ChipDataset,
    *,
    batch_size: int = 64,
    device: torch.device | str = "cpu",
    title: str = "Scores",
) -> Scores:
    """Score a network on its task.

    Args:
        specialist: The network; it is moved to the device and left in evaluation mode.
        chips: Labelled chips of its own bands.
        batch_size: Chips at once; it does not change the result.
        device: Where to compute.
        title: Of the progress bar.

    Returns:
        Names and numbers as `TaskMetrics` describes them.
    """
    metrics = TaskMetrics(specialist.spec).to(device)
    for prediction, target in predict_batches(specialist, chips, batch_size, device, title):
        metrics.update(prediction, target.to(device))
    return metrics.compute()


@torch.no_grad()
def predict_batches(
    network: TaskNetwork,
    chips: ChipDataset,
    batch_size: int,
    device: torch.device | str,
    title: str,
) -> Iterator[tuple[Tensor, Tensor]]:
    """What a network says of labelled chips, and what it should say, batch by batch in order.

    Arguments as for `evaluate`; predictions are on the device, targets are not.
    """
    network.to(device).eval()
    for batch in show_progress(DataLoader(chips, batch_size, collate_fn=collate), title):
        image_BCHW, valid_BCHW = batch["image"].to(device), batch["valid"].to(device)
        yield network.predict(image_BCHW, chips.bands, valid_BCHW), target_of(batch)
