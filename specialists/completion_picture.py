"""Chips as they are, as a network saw a part of them, and as it completed them, side by side.

Shape suffixes: B batch, C channels, H height, W width.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from affine import Affine
from matplotlib.figure import Figure
from torch import Tensor

from rasters import RasterImage
from rasters.picture import render_scene
from sensors import Channel

_GAP = 0.04  # between pictures, as a share of a picture
_INCHES = 2.2


def draw_completions(
    path: Path,
    bands: Sequence[Channel],
    *,
    image_BCHW: Tensor,
    valid_BCHW: Tensor,
    seen_BCHW: Tensor,
    completed_BCHW: Tensor,
) -> None:
    """Draw a row of three pictures for every chip, in colours that are stretched alike.

    Args:
        path: The PNG to write.
        bands: What each channel measures.
        image_BCHW: Physical pixels.
        valid_BCHW: True where one was measured.
        seen_BCHW: True where the network was given it.
        completed_BCHW: What the network made of it, physical.
    """
    rows = zip(
        _side_by_side(image_BCHW, image_BCHW, completed_BCHW),
        _side_by_side(valid_BCHW, seen_BCHW, valid_BCHW),
        strict=True,
    )
    _draw([_render(pixels, shown, tuple(bands)) for pixels, shown in rows], path)


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
