"""Images brought to another size, over valid pixels alone.

Tensor shapes: B batch, C channels, H rows, W columns; h, w the wanted ones.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

_LEAST_VALID = 0.5  # share of valid pixels under a resized one that makes it valid


def resize_images(
    x_BCHW: Tensor, valid_BCHW: Tensor, size: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Bilinear where images grow, averaging where they shrink.

    Args:
        x_BCHW: Pixels; only valid ones need to be finite.
        valid_BCHW: bool, where a pixel was measured.
        size: Rows and columns wanted.

    Returns:
        Pixels (B, C, h, w), 0 where too few are valid, and their validity.
    """

    def scale(stack_BCHW: Tensor) -> Tensor:
        return F.interpolate(stack_BCHW, size, mode="bilinear", antialias=True)

    share_BChw = scale(valid_BCHW.to(x_BCHW.dtype))
    usable_BChw = share_BChw >= _LEAST_VALID
    sum_BChw = scale(torch.where(valid_BCHW, x_BCHW, 0))
    return torch.where(usable_BChw, sum_BChw / share_BChw, 0), usable_BChw
