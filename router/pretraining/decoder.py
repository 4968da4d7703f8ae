"""The decoder of masked modelling, whose last layer follows from the bands, as the first does.

Shape suffixes: B batch, C bands, E size of a band's code, N patches (row by row), V visible ones,
T = 1 + V or 1 + N tokens (class token first), D width of the trunk, M width of the decoder, P
pixels of a patch (row by row).
"""

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from timm.layers.pos_embed import resample_abs_pos_embed
from timm.layers.pos_embed_sincos import build_sincos2d_pos_embed
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from router.pretraining.recipe import DecoderConfig
from router.trunk_spec import TrunkSpec
from specialists.wavelength import (
    FILTER_SCALE,
    GENERATOR_NORM,
    WeightGenerator,
    full_precision,
)

_FIRST_OUTPUT = 0.3  # about the deviation of what is said at first; that of the truth is 1


class DynamicOutput(nn.Module):
    """From tokens to the pixels of any bands, by filters generated from what the bands measure.

    There is no bias, as in the paper; the tokens bring one along.

    Args:
        width: M, width of a token.
        patch_size: Edge of a patch.
        hidden_size: Width of the generator's MLP.
    """

    def __init__(self, width: int, patch_size: int, hidden_size: int) -> None:
        super().__init__()
        self.pixels = patch_size * patch_size
        self.weight_generator = WeightGenerator(self.pixels * width, 0, hidden_size)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        spread = _FIRST_OUTPUT / (width**0.5 * GENERATOR_NORM * FILTER_SCALE)
        nn.init.normal_(self.weight_generator.fc_weight.weight, std=spread)

    def forward(self, tokens_BNM: Tensor, codes_CE: Tensor) -> Tensor:
        """Values (B, N, P, C) of every pixel and band of the patches.

        Args:
            tokens_BNM: Tokens, of about unit variance.
            codes_CE: What is asked for: from `DynamicPatchEmbed.encode`.
        """
        with full_precision(codes_CE.device):
            filters, _ = self.weight_generator(codes_CE)
        filters_CPM = (filters * FILTER_SCALE).view(len(codes_CE), self.pixels, -1)
        values_BNI = F.linear(tokens_BNM, filters_CPM.transpose(0, 1).flatten(0, 1))
        return values_BNI.view(*values_BNI.shape[:2], self.pixels, -1)


class TrunkDecoder(nn.Module):
    """A few transformer blocks over visible tokens and mask tokens, then a `DynamicOutput`.

    Args:
        trunk: Whose tokens it gets.
        config: Its own size.
    """

    positions: Tensor

    def __init__(self, trunk: TrunkSpec, config: DecoderConfig) -> None:
        super().__init__()
        norm: Any = partial(nn.LayerNorm, eps=1e-6)
        self.embed = nn.Linear(trunk.width, config.width)
        self.mask_token = nn.Parameter(torch.randn(1, 1, config.width) * 0.02)
        edge = trunk.image_size // trunk.patch_size
        positions_ND = build_sincos2d_pos_embed([edge, edge], dim=config.width)
        self.register_buffer("positions", F.pad(positions_ND, (0, 0, 1, 0))[None], persistent=False)
        self.blocks = nn.Sequential(
            *(
                Block(config.width, config.num_heads, qkv_bias=True, norm_layer=norm)
                for _ in range(config.depth)
            )
        )
        self.norm = norm(config.width)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        self.output = DynamicOutput(config.width, trunk.patch_size, trunk.generator_hidden_size)

    def forward(
        self, tokens_BTD: Tensor, keep_BV: Tensor, grid: tuple[int, int], codes_CE: Tensor
    ) -> Tensor:
        """Values (B, N, P, C) of all patches.

        Args:
            tokens_BTD: The trunk's, class token first, then those of the visible patches.
            keep_BV: Numbers of the visible patches.
            grid: Rows and columns of patches.
            codes_CE: Of the bands that are asked for.
        """
        embedded_BTM = self.embed(tokens_BTD)
        count = grid[0] * grid[1]
        patches_BNM = self.mask_token.to(embedded_BTM.dtype).expand(len(tokens_BTD), count, -1)
        index_BVM = keep_BV[..., None].expand(-1, -1, patches_BNM.shape[-1])
        patches_BNM = patches_BNM.scatter(1, index_BVM, embedded_BTM[:, 1:])
        tokens_BTM = torch.cat([embedded_BTM[:, :1], patches_BNM], dim=1)
        tokens_BTM = tokens_BTM + resample_abs_pos_embed(self.positions, list(grid))
        tokens_BTM = self.norm(self.blocks(tokens_BTM))
        values: Tensor = self.output(tokens_BTM[:, 1:], codes_CE)
        return values
