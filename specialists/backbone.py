"""The ConvNeXtV2 backbone as a feature pyramid, and padding to the grid it works on.

Tensor shapes: B batch, C channels, H rows, W columns.
"""

from collections.abc import Sequence
from typing import Any

import timm
import torch
import torch.nn.functional as F
from timm.layers.grn import GlobalResponseNorm
from timm.layers.mlp import GlobalResponseNormMlp
from torch import Tensor, nn


def build_backbone(
    architecture: str,
    in_chans: int | None,
    *,
    stem_stride: int = 4,
    drop_path_rate: float = 0.0,
    stage_widths: Sequence[int] = (),
    hidden_widths: Sequence[int] = (),
) -> nn.Module:
    """A ConvNeXtV2 (arXiv 2301.00808) that gives its four stages' outputs, with random weights.

    The published stem cuts the image into 4 x 4 patches (kernel 4, stride 4), so that a 64-pixel
    chip ends as a 2 x 2 map. With `stem_stride=2` the same kernel steps by 2 (padding 1): every map
    is twice as large each way, reductions are 2, 4, 8, 16 instead of 4, 8, 16, 32, weights keep
    their shapes, and the multiply-adds are about four times as many.

    Args:
        architecture: A name from `specialists.spec.ARCHITECTURES`.
        in_chans: Number of input channels; None leaves the first convolution to the caller, and the
            network begins with what that gives, (B, C_0, H / r_0, W / r_0).
        stem_stride: 4 or 2.
        drop_path_rate: Stochastic depth rate of the deepest block.
        stage_widths: Channels of each stage, if not those published.
        hidden_widths: Channels of the hidden layer of each block, if not those published.

    Returns:
        timm's feature network: called with (B, C, H, W), it returns a list of (B, C_i, H / r_i,
        W / r_i), finest first, for H and W that are multiples of its largest reduction;
        `feature_info` has C_i and r_i.
    """
    backbone: Any = timm.create_model(
        architecture,
        pretrained=False,
        features_only=True,
        in_chans=in_chans or 1,
        drop_path_rate=drop_path_rate,
        dims=tuple(stage_widths) or None,  # what is None counts as not given
    )
    if stem_stride == 2:
        backbone.stem_0.stride = (2, 2)
        backbone.stem_0.padding = (1, 1)
        for level in backbone.feature_info.info:
            level["reduction"] //= 2
    if in_chans is None:
        backbone.stem_0 = nn.Identity()
    network: nn.Module = backbone
    for number, mlp in enumerate(list_mlps(network)):
        hidden = hidden_widths[number] if hidden_widths else mlp.fc1.weight.shape[0]
        if hidden_widths:
            _set_hidden_width(mlp, hidden)
        mlp.grn = FusedGlobalResponseNorm(hidden, channels_last=mlp.grn.channel_dim == -1)
    return network


def list_mlps(backbone: nn.Module) -> list[Any]:
    """The two layers and the response norm (`fc1`, `grn`, `fc2`) of every block, in order."""
    return [module for module in backbone.modules() if isinstance(module, GlobalResponseNormMlp)]


def _set_hidden_width(mlp: Any, width: int) -> None:  # noqa: ANN401 - timm ships no types
    """Give the hidden layer of a block another width, with random weights."""
    if isinstance(mlp.fc1, nn.Linear):
        mlp.fc1 = nn.Linear(mlp.fc1.in_features, width)
        mlp.fc2 = nn.Linear(width, mlp.fc2.out_features)
    else:
        mlp.fc1 = nn.Conv2d(mlp.fc1.in_channels, width, kernel_size=1)
        mlp.fc2 = nn.Conv2d(width, mlp.fc2.out_channels, kernel_size=1)


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
