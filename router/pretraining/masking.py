"""What of a batch a trunk does not see: patches of every image, and whole bands.

Shape suffixes: B batch, N patches (row by row), V visible patches.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from sensors.errors import InputError
from specialists.warm_start_masks import draw_hidden


@dataclass(frozen=True)
class Mask:
    """Which patches are hidden.

    Args:
        hidden_BN: True for patches that are.
        keep_BV: Numbers of the others, ascending; the same number of them in every image.
    """

    hidden_BN: Tensor
    keep_BV: Tensor


def hide_patches(
    batch: int,
    grid: tuple[int, int],
    ratio: float,
    device: torch.device,
    generator: torch.Generator | None = None,
) -> Mask:
    """Draw which patches are hidden: at least one of every image, and never all.

    Args:
        batch: Number of images.
        grid: Rows and columns of patches of each.
        ratio: Share that is hidden.
        device: Where the answer is needed.
        generator: On the CPU, to draw from; without it, torch's global one of the device.

    Raises:
        InputError: If images have a single patch.
    """
    if grid == (1, 1):
        raise InputError(
            "an image of a single patch has nothing to hide and something to see; give images of "
            "two patches or more"
        )
    hidden_BN = draw_hidden((batch, *grid), ratio, device, generator).flatten(1)
    visible = hidden_BN.shape[1] - int(hidden_BN[0].sum())
    return Mask(hidden_BN, hidden_BN.int().argsort(stable=True, dim=1)[:, :visible])


def draw_bands(
    count: int, probability: float, generator: torch.Generator | None = None
) -> tuple[int, ...]:
    """Draw the numbers of the bands that are shown, ascending: all, or 1 to all but one of them.

    Args:
        count: Number of bands there are; a single one is always shown.
        probability: Of not showing all.
        generator: On the CPU, to draw from; without it, torch's global one.
    """
    if count < 2 or torch.rand((), generator=generator) >= probability:
        return tuple(range(count))
    return choose_bands(count, int(torch.randint(1, count, (), generator=generator)), generator)


def choose_bands(
    count: int, chosen: int, generator: torch.Generator | None = None
) -> tuple[int, ...]:
    """Draw the numbers of `chosen` of `count` bands, ascending.

    Args:
        count: Number of bands there are.
        chosen: How many are drawn.
        generator: On the CPU, to draw from; without it, torch's global one.
    """
    return tuple(sorted(torch.randperm(count, generator=generator)[:chosen].tolist()))
