"""What a masked model makes of chips, to look at.

Shape suffixes: B batch, C channels, H height, W width, Y and X rows and columns of patches, D
values of a patch.
"""

from pathlib import Path

import torch
import torch.nn.functional as F

from rasters import ChipDataset
from specialists.completion_picture import draw_completions
from specialists.loading import collate
from specialists.warm_start_masks import spread
from specialists.warm_start_task import MaskedTask


@torch.no_grad()
def draw_reconstructions(task: MaskedTask, chips: ChipDataset, path: Path) -> None:
    """Draw chips as they are, as the network sees them, and as it completes them.

    Colours are stretched alike for the three. The network tells what a patch looks like apart from
    its mean and contrast, as the loss asks of it; those are the true ones in the picture.

    Args:
        task: In evaluation mode, on any device.
        chips: A few, of the task's bands.
        path: The PNG to write.
    """
    batch = collate([chips[number] for number in range(len(chips))])
    image, valid = batch["image"].to(task.device), batch["valid"].to(task.device)
    made = task.reconstruct(image, valid, torch.Generator().manual_seed(0))
    height, width = image.shape[-2:]
    hidden_B1HW = spread(made.hidden_B1YX, task.patch)[..., :height, :width]
    pixels_BDYX = made.predicted_BDYX * made.std_B1YX + made.mean_B1YX
    scaled_BCHW = F.pixel_shuffle(pixels_BDYX, task.patch)[..., :height, :width]
    specialist = task.specialist
    completed = scaled_BCHW * specialist.band_std_C11 + specialist.band_mean_C11
    draw_completions(
        path,
        chips.bands,
        image_BCHW=image,
        valid_BCHW=valid,
        seen_BCHW=valid & ~hidden_B1HW,
        completed_BCHW=torch.where(hidden_B1HW, completed, image),
    )
