"""What a masked model makes of chips, to look at.

Shape suffixes: B batch, C channels, H height, W width, Y and X rows and columns of patches, D
values of a patch.
"""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from affine import Affine
from matplotlib.figure import Figure
from torch import Tensor

from rasters import ChipDataset, RasterImage
from rasters.picture import render_scene
from sensors import Channel
from specialists.loading import collate
from specialists.warm_start_masks import spread
from specialists.warm_start_task import MaskedTask

_GAP = 0.04  # between pictures, as a share of a picture
_INCHES = 2.2


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
    rows = zip(
        _side_by_side(image, image, torch.where(hidden_B1HW, completed, image)),
        _side_by_side(valid, valid & ~hidden_B1HW, valid),
        strict=True,
    )
    _draw([_render(pixels, seen, chips.bands) for pixels, seen in rows], path)


def _side_by_side(*parts_BCHW: Tensor) -> Tensor:
    """Three pictures with gaps of 0 between them."""
    first = parts_BCHW[0]
    gap = max(1, round(_GAP * first.shape[-1]))
    padded = [F.pad(part, (0, gap)) for part in parts_BCHW[:-1]]
    return torch.cat([*padded, parts_BCHW[-1]], dim=-1).cpu()


def _render(pixels_CHW: Tensor, valid_CHW: Tensor, bands: tuple[Channel, ...]) -> np.ndarray:
    image = RasterImage(
        pixels_CHW.masked_fill(~valid_CHW, 0).numpy(), valid_CHW.numpy(), bands, Affine.identity()
    )
    return render_scene(image)[0]


def _draw(rows_HW3: list[np.ndarray], path: Path) -> None:
    figure = Figure(figsize=(3 * _INCHES, len(rows_HW3) * _INCHES + 0.3), layout="constrained")
    axes = figure.subplots(len(rows_HW3), squeeze=False)[:, 0]
    for axis, row_HW3 in zip(axes, rows_HW3, strict=True):
        axis.imshow(row_HW3, interpolation="nearest")
        axis.axis("off")
    axes[0].set_title("chip, what the network sees, what it completes", fontsize=9)
    figure.savefig(path, dpi=110)
