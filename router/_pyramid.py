"""A pyramid from a transformer, whose own maps are all of one size.

Tensor shapes: B batch, D width, H rows, W columns.
"""

import math
from collections.abc import Sequence

import torch.nn.functional as F
from timm.models import FeatureInfo
from torch import Tensor

from router.trunk_spec import TrunkSpec

_LEVELS = 4


def describe_levels(spec: TrunkSpec) -> FeatureInfo:
    """Reductions of a quarter, half, one and two patches, as far as they are whole numbers.

    The finest comes from the first quarter of the blocks, and so on to the last block.
    """
    reductions = [spec.patch_size * 2]
    while len(reductions) < _LEVELS and reductions[-1] % 2 == 0:
        reductions.append(reductions[-1] // 2)
    count = len(reductions)
    levels = [
        {
            "num_chs": spec.width,
            "reduction": reduction,
            "module": f"blocks.{math.ceil((number + 1) * spec.depth / count) - 1}",
        }
        for number, reduction in enumerate(reversed(reductions))
    ]
    return FeatureInfo(levels, tuple(range(count)))


def resample_levels(
    maps: Sequence[Tensor], patch_size: int, reductions: Sequence[int]
) -> list[Tensor]:
    """Maps of (B, D, H / patch_size, W / patch_size) at the reductions of `describe_levels`.

    Where the coarsest would not come out even, the last row or column is repeated before.
    """
    levels = []
    for map_BDHW, reduction in zip(maps, reductions, strict=True):
        height, width = map_BDHW.shape[-2:]
        map_BDHW = F.pad(map_BDHW, (0, width % 2, 0, height % 2), mode="replicate")
        if reduction > patch_size:
            map_BDHW = F.avg_pool2d(map_BDHW, reduction // patch_size)
        elif reduction < patch_size:
            map_BDHW = F.interpolate(
                map_BDHW, scale_factor=patch_size // reduction, mode="bilinear"
            )
        levels.append(map_BDHW)
    return levels
