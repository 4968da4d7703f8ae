"""Heads of the pixel probes: from a frozen feature pyramid to one answer a pixel.

Shape suffixes: B batch, C channels, K outputs, H height, W width; h, w those of the finest level.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from segmentation_models_pytorch.decoders.fpn.decoder import Conv3x3GNReLU, FPNDecoder
from torch import Tensor, nn
from torch.nn import functional

_WIDTH = 128
_GROUP = 32  # `Conv3x3GNReLU` normalises 32 groups of channels
_FPN_LEVELS = 4

Shape = tuple[int, int, int]
"""Channels, rows and columns of one level."""


class PixelNetwork(nn.Module):
    """A head on standardised levels, and its answer brought to the size of the mask.

    Args:
        name: `linear` or `decoder`.
        shapes: (C, h, w) of every level, finest first.
        moments: Mean and standard deviation (C,) of every level over the training chips.
        outputs: Number of outputs K.
        covered: Share of the levels' rows and columns that the image covers.
    """

    def __init__(
        self,
        name: str,
        shapes: Sequence[Shape],
        moments: Sequence[tuple[Tensor, Tensor]],
        outputs: int,
        covered: Sequence[float] = (1.0, 1.0),
    ) -> None:
        super().__init__()
        self.covered = covered
        self.head = _build(name, shapes, outputs)
        for number, (mean_C, std_C) in enumerate(moments):
            self.register_buffer(f"mean_{number}", mean_C[:, None, None])
            self.register_buffer(f"std_{number}", std_C[:, None, None])

    def forward(self, levels: Sequence[Tensor], size: Sequence[int]) -> Tensor:
        """Raw answers (B, K, H, W) for levels (B, C_i, h_i, w_i) and a mask of `size` (H, W)."""
        scaled = [
            (level - self.get_buffer(f"mean_{number}")) / self.get_buffer(f"std_{number}")
            for number, level in enumerate(levels)
        ]
        height, width = size
        whole = [round(length / share) for length, share in zip(size, self.covered, strict=True)]
        return _resize(self.head(scaled), whole)[..., :height, :width]


def _build(name: str, shapes: Sequence[Shape], outputs: int) -> nn.Module:
    if name == "linear":
        return SumHead(shapes, outputs)
    if _is_pyramid(shapes):
        return _FPNHead([channels for channels, _, _ in shapes], outputs)
    # As wide as what it reads, in whole groups: a few bands at full resolution would cost the most.
    groups = math.ceil(sum(channels for channels, _, _ in shapes) / _GROUP)
    width = min(groups * _GROUP, _WIDTH)
    return nn.Sequential(
        SumHead(shapes, width),
        Conv3x3GNReLU(width, width),
        nn.Conv2d(width, outputs, kernel_size=1),
    )


def _is_pyramid(shapes: Sequence[Shape]) -> bool:
    """Whether an FPN can read the levels: at least four, the last four halving step by step."""
    sizes = [(height, width) for _, height, width in shapes[-_FPN_LEVELS:]]
    halves = (fine == (2 * coarse[0], 2 * coarse[1]) for fine, coarse in pairwise(sizes))
    return len(sizes) == _FPN_LEVELS and all(halves)


class SumHead(nn.Module):
    """A 1 x 1 convolution of all levels, brought to the finest by bilinear upsampling.

    Upsampling is linear in the channels and its weights sum to 1, so it may as well follow the
    convolution: every level is brought to K channels, upsampled, and summed, which is the same
    function as upsampling and concatenating all channels first, at a fraction of the cost.

    Args:
        shapes: (C, h, w) of every level, finest first.
        outputs: Number of outputs K.
    """

    def __init__(self, shapes: Sequence[Shape], outputs: int) -> None:
        super().__init__()
        channels = [channels for channels, _, _ in shapes]
        self.split = channels
        self.whole = nn.Conv2d(sum(channels), outputs, kernel_size=1)

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """Answers (B, K, h, w) from levels (B, C_i, h_i, w_i)."""
        size = levels[0].shape[-2:]
        weights = torch.split(self.whole.weight, self.split, dim=1)
        biases = [self.whole.bias, *[None] * (len(levels) - 1)]
        parts = [
            _resize(functional.conv2d(*given), size)
            for given in zip(levels, weights, biases, strict=True)
        ]
        return torch.stack(parts).sum(dim=0)


class _FPNHead(nn.Module):
    """The FPN of segmentation-models-pytorch on the four coarsest levels, then 1 x 1."""

    def __init__(self, channels: Sequence[int], outputs: int) -> None:
        super().__init__()
        # The decoder takes the image as a first entry, which it does not read.
        self.decoder = FPNDecoder(
            [channels[0], *channels],
            encoder_depth=len(channels),
            pyramid_channels=_WIDTH,
            segmentation_channels=_WIDTH // 2,
            dropout=0.0,
        )
        self.answer = nn.Conv2d(self.decoder.out_channels, outputs, kernel_size=1)

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        answers_BKHW: Tensor = self.answer(self.decoder(list(levels)))
        return answers_BKHW


def _resize(x_BCHW: Tensor, size: Sequence[int]) -> Tensor:
    if x_BCHW.shape[-2:] == torch.Size(size):
        return x_BCHW
    return functional.interpolate(x_BCHW, tuple(size), mode="bilinear", align_corners=False)
