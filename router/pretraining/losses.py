"""Patches as numbers, and what a reconstruction of them is worth.

Shape suffixes: B batch, C bands, H rows, W columns, N patches (row by row), P pixels of a patch
(row by row), I = P x C values of a patch (pixel by pixel, the bands of a pixel side by side).
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

_EPSILON = 1e-6  # added to the variance of a patch (MAE's code)


def patchify(x_BCHW: Tensor, size: int) -> Tensor:
    """Cut images into patches of `size` x `size` pixels, (B, N, I); sides must be multiples."""
    batch, bands, height, width = x_BCHW.shape
    cut = x_BCHW.reshape(batch, bands, height // size, size, width // size, size)
    return cut.permute(0, 2, 4, 3, 5, 1).reshape(batch, -1, size * size * bands)


def unpatchify(patches_BNI: Tensor, size: int, grid: tuple[int, int]) -> Tensor:
    """Inverse of `patchify`: images (B, C, H, W).

    Args:
        patches_BNI: Patches.
        size: Edge of one in pixels.
        grid: Rows and columns of patches.
    """
    rows, columns = grid
    cut = patches_BNI.reshape(len(patches_BNI), rows, columns, size, size, -1)
    images = cut.permute(0, 5, 1, 3, 2, 4)
    return images.reshape(*images.shape[:2], rows * size, columns * size)


@dataclass(frozen=True)
class Reconstruction:
    """What was made of a masked batch, patch by patch.

    Args:
        predicted_BNPC: What the decoder says.
        target_BNPC: The truth, as `normalize_patches` makes it.
        mean, std: What makes normalised pixels of the two above; (B, N, 1, C) or (B, N, 1, 1).
        counted_BNPC: True where it counts: at valid pixels that were not seen.
        seen_BCHW: True for pixels that the trunk was given.
        grid: Rows and columns of patches.
    """

    predicted_BNPC: Tensor
    target_BNPC: Tensor
    mean: Tensor
    std: Tensor
    counted_BNPC: Tensor
    seen_BCHW: Tensor
    grid: tuple[int, int]

    def error(self) -> Tensor:
        """Mean squared error over what counts (MAE, arXiv 2111.06377, section 4); 0 of nothing."""
        return self._mean((self.predicted_BNPC - self.target_BNPC).square())

    def floor(self) -> Tensor:
        """The error of saying the true mean of every patch and band."""
        counted_BNPC = self.counted_BNPC.to(self.target_BNPC.dtype)
        count_BN1C = counted_BNPC.sum(2, keepdim=True).clamp(min=1)
        mean_BN1C = (self.target_BNPC * counted_BNPC).sum(2, keepdim=True) / count_BN1C
        return self._mean((self.target_BNPC - mean_BN1C).square())

    def count(self) -> Tensor:
        """How many values count."""
        return self.counted_BNPC.sum()

    def predicted_pixels(self) -> Tensor:
        """What the decoder says, as normalised pixels (B, C, H, W).

        Means and deviations that were taken out of the target are put back.
        """
        pixels_BNPC = self.predicted_BNPC * self.std + self.mean
        size = self.seen_BCHW.shape[-2] // self.grid[0]
        return unpatchify(pixels_BNPC.flatten(2), size, self.grid)

    def _mean(self, squares_BNPC: Tensor) -> Tensor:
        counted_BNPC = self.counted_BNPC.to(squares_BNPC.dtype)
        return (squares_BNPC * counted_BNPC).sum() / counted_BNPC.sum().clamp(min=1)


def normalize_patches(
    pixels_BNPC: Tensor, valid_BNPC: Tensor, target: str
) -> tuple[Tensor, Tensor, Tensor]:
    """What is to be said of every patch; 0 where nothing is valid.

    Args:
        pixels_BNPC: Normalised pixels.
        valid_BNPC: True where one was measured.
        target: `pixel` for the pixels as they are; otherwise mean 0 and variance 1 over the valid
            values of a patch, `band` for every band by itself, `patch` for all bands together.

    Returns:
        The same shape, with the mean and the deviation that were taken out: (B, N, 1, C), or
        (B, N, 1, 1).
    """
    if target == "pixel":
        mean = pixels_BNPC.new_zeros(*pixels_BNPC.shape[:2], 1, 1)
        return pixels_BNPC.where(valid_BNPC, 0), mean, torch.ones_like(mean)
    dims = 2 if target == "band" else (2, 3)
    valid = valid_BNPC.to(pixels_BNPC.dtype)
    count = valid.sum(dims, keepdim=True).clamp(min=1)
    mean = (pixels_BNPC * valid).sum(dims, keepdim=True) / count
    centred_BNPC = (pixels_BNPC - mean) * valid
    variance = centred_BNPC.square().sum(dims, keepdim=True) / count
    std = (variance + _EPSILON).sqrt()
    return centred_BNPC / std, mean, std


def cosine_loss(a_BD: Tensor, b_BD: Tensor, weight_B: Tensor) -> Tensor:
    """Mean of 1 - cos over images, weighted; 0 if all weights are."""
    distance_B = 1 - F.cosine_similarity(a_BD.float(), b_BD.float())
    return torch.sum(distance_B * weight_B) / weight_B.sum().clamp(min=_EPSILON)
