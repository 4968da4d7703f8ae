"""The light decoder of a warm start: from what a backbone saw to every pixel it did not see.

Shape suffixes: B batch, H height, W width, Y and X rows and columns of patches, D values of a
patch, L channels of a level, M channels of the decoder.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from timm.models.convnext import ConvNeXtBlock
from torch import Tensor, nn

from specialists.warm_start_masks import spread


class MaskedDecoder(nn.Module):
    """One ConvNeXt block on the grid of patches, then a linear layer to every patch's pixels.

    Each level comes in through a 1 x 1 convolution. Levels finer than the patches are averaged over
    the cells of a patch, coarser ones repeated; what a level has where it saw nothing is left out.
    The sum of the levels has a learned token added where a patch was hidden.

    Args:
        channels: Width of every level that is read.
        factors: Reduction of every level over the edge of a patch.
        width: Channels of the decoder.
        outputs: Values of a patch.
    """

    def __init__(
        self, channels: Sequence[int], factors: Sequence[float], width: int, outputs: int
    ) -> None:
        super().__init__()
        self.factors = tuple(factors)
        self.project = nn.ModuleList(nn.Conv2d(level, width, 1) for level in channels)
        self.token_M11 = nn.Parameter(torch.empty(width, 1, 1))
        self.block = ConvNeXtBlock(width, conv_mlp=True, use_grn=True, ls_init_value=None)
        self.predict = nn.Conv2d(width, outputs, 1)
        nn.init.normal_(self.token_M11, std=0.02)

    def forward(self, levels: Sequence[Tensor], hidden_B1YX: Tensor) -> Tensor:
        """Values (B, D, Y, X) of every patch, from levels (B, L, H / r, W / r) of the backbone."""
        seen_B1YX = ~hidden_B1YX
        total_BMYX = self.token_M11 * hidden_B1YX
        for level, project, factor in zip(levels, self.project, self.factors, strict=True):
            cell = round(max(1.0, factor))
            values_BMYX = spread(project(F.avg_pool2d(level, round(1 / min(1.0, factor)))), cell)
            visible = F.max_pool2d(seen_B1YX.float(), cell)
            total_BMYX = total_BMYX + values_BMYX * spread(visible, cell)
        predicted_BDYX: Tensor = self.predict(self.block(total_BMYX))
        return predicted_BDYX
