"""What a trunk that is being pretrained makes of images, to look at.

Shape suffixes: B batch, C bands, H rows, W columns.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from router.pretraining.losses import Reconstruction
from router.pretraining.task import PretrainTask
from sensors import Channel
from specialists.completion_picture import draw_completions


@torch.no_grad()
def draw_reconstructions(
    task: PretrainTask,
    x_BCHW: Tensor,
    bands: Sequence[Channel],
    valid: Tensor,
    path: Path,
    *,
    shown: Sequence[int] | None = None,
) -> None:
    """Draw images as they are, as the trunk sees them, and as the decoder completes them.

    Colours are stretched alike for the three: true colour, or radar, or one band, see
    `rasters.picture`. The same patches are hidden every time.

    Args:
        task: On any device.
        x_BCHW: A few images, physical.
        bands: What each channel measures.
        valid: True where a pixel was measured, of the images' shape.
        path: The PNG to write.
        shown: Numbers of the bands that the trunk is given; all by default.
    """
    x_BCHW, valid = x_BCHW.to(task.device), valid.to(task.device)
    made = task.reconstruct(
        x_BCHW, bands, valid, shown=shown, generator=torch.Generator().manual_seed(0)
    )
    draw_completions(
        path,
        bands,
        image_BCHW=x_BCHW,
        valid_BCHW=valid,
        seen_BCHW=made.seen_BCHW,
        completed_BCHW=complete_images(task, made, x_BCHW, bands),
    )


def complete_images(
    task: PretrainTask, made: Reconstruction, x_BCHW: Tensor, bands: Sequence[Channel]
) -> Tensor:
    """Physical pixels (B, C, H, W): those the trunk saw, and what the decoder said of the others.

    Where the loss asks only what a patch looks like apart from its mean and contrast, those are
    taken from the image.

    Args:
        task: On the image's device.
        made: Of the image.
        x_BCHW: The image, physical.
        bands: What each channel measures.
    """
    shift_C11, scale_C11 = task.trunk.scaling.shift_and_scale(bands, x_BCHW.device, torch.float32)
    said_BCHW = (made.predicted_pixels() - shift_C11) / scale_C11
    return torch.where(made.seen_BCHW, x_BCHW, said_BCHW)
