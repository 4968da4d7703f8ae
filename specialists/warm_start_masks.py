"""Hiding patches of an image from a convolutional network, exactly and with dense kernels.

Shape suffixes: B batch, C channels, H height, W width, Y and X rows and columns of patches.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from timm.layers.grn import GlobalResponseNorm
from timm.models.convnext import ConvNeXtBlock
from torch import Tensor, nn

from sensors import InputError


def choose_patch(chip_size: int, finest: int, coarsest: int, wanted: int | None = None) -> int:
    """Edge of the patches to hide, in pixels.

    Args:
        chip_size: Edge of the chips.
        finest: Reduction of the backbone's finest level.
        coarsest: Reduction of its coarsest level.
        wanted: The edge that is asked for; without it, the largest that leaves four patches on an
            edge of the chip.

    Raises:
        InputError: If the edge that is wanted does not fit the levels of the backbone.
    """
    fitting = [finest]
    while fitting[-1] < coarsest:
        fitting.append(2 * fitting[-1])
    if wanted is None:
        return max([edge for edge in fitting if 4 * edge <= chip_size] or fitting[:1])
    if wanted not in fitting:
        raise InputError(
            f"trainer.masking.patch {wanted} is not one of {', '.join(map(str, fitting))}: patches "
            "must be whole cells of the backbone's levels"
        )
    return wanted


def draw_hidden(
    shape_BYX: tuple[int, int, int],
    ratio: float,
    device: torch.device,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Which patches are hidden: the same number in every image, at least one, never all.

    Args:
        shape_BYX: Images, and rows and columns of patches of each.
        ratio: Share of the patches that is hidden.
        device: Where the answer is needed.
        generator: On the CPU, to draw from; without it, torch's global one of the device.

    Returns:
        bool (B, 1, Y, X).
    """
    batch, rows, columns = shape_BYX
    count = rows * columns
    hidden = min(max(1, round(ratio * count)), count - 1)
    if generator is None:
        draw_BN = torch.rand(batch, count, device=device)
    else:
        draw_BN = torch.rand(batch, count, generator=generator).to(device)
    rank_BN = draw_BN.argsort(1).argsort(1)
    return (rank_BN < hidden).view(batch, 1, rows, columns)


def spread(values_BCYX: Tensor, factor: int) -> Tensor:
    """Every cell repeated `factor` times each way."""
    return values_BCYX.repeat_interleave(factor, -2).repeat_interleave(factor, -1)


@contextmanager
def visible_only(backbone: nn.Module, visible_B1HW: Tensor) -> Iterator[None]:
    """Within it, a ConvNeXtV2 computes as if its hidden cells were not there.

    What mixes places (depthwise convolutions and the response norm) is given 0 at hidden cells, all
    else works on single cells. That is what a sparse convolution over the visible cells computes
    (ConvNeXt V2, arXiv 2301.00808, section 3.1). Hidden cells of the result hold nothing of use.

    Args:
        backbone: Of `build_backbone`; its image must be 0 at hidden pixels.
        visible_B1HW: True where a pixel of the image is visible, in whole cells of the stem. A
            coarser cell is visible if one of its pixels is.
    """

    def hide(module: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
        (x,) = inputs
        channels_last = isinstance(module, GlobalResponseNorm) and module.channel_dim == -1
        height = x.shape[1] if channels_last else x.shape[2]
        visible = at_height(height)
        return (x * (visible.movedim(1, -1) if channels_last else visible).to(x.dtype),)

    levels: dict[int, Tensor] = {}

    def at_height(height: int) -> Tensor:
        if height not in levels:
            levels[height] = F.max_pool2d(visible_B1HW.float(), visible_B1HW.shape[2] // height)
        return levels[height]

    mixing = [
        module.conv_dw if isinstance(module, ConvNeXtBlock) else module
        for module in backbone.modules()
        if isinstance(module, ConvNeXtBlock | GlobalResponseNorm)
    ]
    handles = [module.register_forward_pre_hook(hide) for module in mixing]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
