"""Scores of a network on chips: one pass, no training machinery."""

import torch
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
    specialist.to(device).eval()
    metrics = TaskMetrics(specialist.spec).to(device)
    loader = DataLoader(chips, batch_size, collate_fn=collate)
    for batch in show_progress(loader, title):
        image_BCHW, valid_BCHW = batch["image"].to(device), batch["valid"].to(device)
        metrics.update(
            specialist.predict(image_BCHW, valid=valid_BCHW), target_of(batch).to(device)
        )
    return metrics.compute()
