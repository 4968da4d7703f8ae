"""The ConvNeXtV2 backbone as a feature pyramid, and padding to the grid it works on.

Tensor shapes: B batch, C channels, H rows, W columns.
"""

from typing import Any

import timm
import torch
import torch.nn.functional as F
from timm.layers.grn import GlobalResponseNorm
from timm.layers.mlp import GlobalResponseNormMlp
from torch import Tensor, nn


def build_backbone(
    architecture: str, in_chans: int, *, stem_stride: int = 4, drop_path_rate: float = 0.0
) -> nn.Module:
    """A ConvNeXtV2 (arXiv 2301.00808) that gives its four stages' outputs, with random weights.

    The published stem cuts the image into 4 x 4 patches (kernel 4, stride 4), so that a 64-pixel
    chip ends as a 2 x 2 map. With `stem_stride=2` the same kernel steps by 2 (padding 1): every map
    is twice as large each way, reductions are 2, 4, 8, 16 instead of 4, 8, 16, 32, weights keep
    their shapes, and the multiply-adds are about four times as many.

    Args:
        architecture: A name from `specialists.spec.ARCHITECTURES`.
        in_chans: Number of input channels.
        stem_stride: 4 or 2.
        drop_path_rate: Stochastic depth rate of the deepest block.

    Returns:
        timm's feature network: called with (B, C, H, W), it returns a list of (B, C_i, H / r_i,
        W / r_i), finest first, for H and W that are multiples of its largest reduction;
        `feature_info` has C_i and r_i.
    """
    backbone: Any = timm.create_model(
        architecture,
        pretrained=False,
        features_only=True,
        in_chans=in_chans,
        drop_path_rate=drop_path_rate,
    )
    if stem_stride == 2:
        backbone.stem_0.stride = (2, 2)
        backbone.stem_0.padding = (1, 1)
        for level in backbone.feature_info.info:
            level["reduction"] //= 2
    network: nn.Module = backbone
    for module in list(network.modules()):
        if isinstance(module, GlobalResponseNormMlp):
            published: Any = module.grn
            module.grn = FusedGlobalResponseNorm(
                len(published.weight), channels_last=published.channel_dim == -1
            )
    return network


class FusedGlobalResponseNorm(GlobalResponseNorm):
    """Global response normalisation (ConvNeXt V2, section 3.3), equal to timm's and cheaper.

    The norm is a plain sum of squares, and the residual is folded into the scale: `x * (1 + w * n)
    + b` for `x + x * n * w + b`. On CPUs that is faster, see `benchmarks/response_norm.py`.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Same shape as `x`, (B, C, H, W) or (B, H, W, C) as constructed."""
        squares = x.pow(2).sum(self.spatial_dim, keepdim=True)
        # A channel that is 0 everywhere (an empty chip) has no gradient of the square root.
        norm = squares.clamp_min(torch.finfo(squares.dtype).tiny).sqrt()
        response = norm / (norm.mean(self.channel_dim, keepdim=True) + self.eps)
        scale = 1 + self.weight.view(self.wb_shape) * response
        return torch.addcmul(self.bias.view(self.wb_shape), x, scale)


def pad_to_multiple(x_BCHW: Tensor, multiple: int) -> Tensor:
    """Grow an image at its bottom and right until both edges are multiples of `multiple`.

    The image is mirrored; where it is smaller than what is missing, its last row or column is
    repeated.
    """
    height, width = x_BCHW.shape[-2:]
    bottom, right = -height % multiple, -width % multiple
    if bottom:
        x_BCHW = F.pad(x_BCHW, (0, 0, 0, bottom), "reflect" if bottom < height else "replicate")
    if right:
        x_BCHW = F.pad(x_BCHW, (0, right, 0, 0), "reflect" if right < width else "replicate")
    return x_BCHW
