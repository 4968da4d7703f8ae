"""Images brought to a size that a trunk can take: whole patches.

Tensor shapes: B batch, C channels, H rows, W columns.
"""

import torch
from torch import Tensor

from rasters.resize import resize_images


def input_size(
    height: int, width: int, patch_size: int, image_size: int | None = None
) -> tuple[int, int]:
    """Rows and columns of an image as a trunk gets it.

    Args:
        height: Of the image.
        width: Of the image.
        patch_size: Of the trunk.
        image_size: Edge in pixels that every image is resized to; if not given, both edges grow to
            the next whole number of patches.
    """
    if image_size is not None:
        return image_size, image_size
    return -(-height // patch_size) * patch_size, -(-width // patch_size) * patch_size


def fit_to_patches(
    x_BCHW: Tensor, valid: Tensor | None, patch_size: int, image_size: int | None = None
) -> tuple[Tensor, Tensor]:
    """Images of the size that `input_size` tells, 0 where they are not valid, and where they are.

    Args:
        x_BCHW: Pixels.
        valid: bool, where a pixel was measured; those that are not finite never count.
        patch_size: Of the trunk.
        image_size: As for `input_size`.
    """
    usable_BCHW = x_BCHW.isfinite() if valid is None else x_BCHW.isfinite() & valid
    height, width = x_BCHW.shape[-2:]
    size = input_size(height, width, patch_size, image_size)
    if size != (height, width):
        return resize_images(x_BCHW, usable_BCHW, size)
    return torch.where(usable_BCHW, x_BCHW, 0), usable_BCHW
