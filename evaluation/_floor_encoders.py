"""Encoders that know nothing: what every other one has to beat.

Tensor shapes: B batch, C bands, F filters, D features, H rows, W columns.
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from timm.models import FeatureInfo
from torch import Tensor, nn

from evaluation._adapters import BandAdapter
from evaluation.context import DataContext
from sensors import Channel
from specialists.backbone import pad_to_multiple
from specialists.floors import PERCENTILES, image_statistics

_FILTERS = 128
_KERNEL = 3
_BIAS = 1.0  # a response counts from one standard deviation on
_STRIDE = 2  # at every pixel, responses are four times the work and tell hardly more
_POOLING = 4
_IMAGES = 4


def _one_level(channels: int, reduction: int) -> FeatureInfo:
    return FeatureInfo([{"num_chs": channels, "reduction": reduction, "module": "level"}], (0,))


class RandomConvolution(BandAdapter):
    """Random convolutional features (Rolf et al. 2021, doi 10.1038/s41467-021-24638-z).

    Filters are Gaussian, of about unit response to white noise. Where a response leaves -1
    to 1, by how much it does is a feature, upwards and downwards apart: F filters, at every second
    pixel each way, give 2 F features, averaged over 4 x 4 pixels.
    """

    weight_FCKK: Tensor

    def __init__(self, context: DataContext) -> None:
        super().__init__(context)
        weight_FCKK = torch.randn(_FILTERS, len(self.known), _KERNEL, _KERNEL)
        self.register_buffer("weight_FCKK", weight_FCKK / weight_FCKK[0].numel() ** 0.5)
        self.feature_info = _one_level(2 * _FILTERS, _POOLING)
        self.num_features = 2 * _FILTERS

    def forward_features(
        self, x_BCHW: Tensor, bands: Sequence[Channel] | None = None, valid: Tensor | None = None
    ) -> list[Tensor]:
        """One level, (B, 2 F, H / 4, W / 4)."""
        x_BCHW = pad_to_multiple(self.normalize(x_BCHW, bands, valid), _POOLING)
        # A few images at a time: at full size the responses take hundreds of bytes for each pixel.
        return [torch.cat([self._respond(part_BCHW) for part_BCHW in torch.split(x_BCHW, _IMAGES)])]

    def _respond(self, x_BCHW: Tensor) -> Tensor:
        response_BFHW = F.conv2d(x_BCHW, self.weight_FCKK, stride=_STRIDE, padding=_KERNEL // 2)
        sides = [F.relu(sign * response_BFHW - _BIAS) for sign in (1, -1)]
        return torch.cat(
            [F.avg_pool2d(side_BFHW, _POOLING // _STRIDE) for side_BFHW in sides], dim=1
        )


class ImageStatistics(BandAdapter):
    """Mean, deviation and percentiles of each band as image vector; its bands as pixel features."""

    def __init__(self, context: DataContext) -> None:
        super().__init__(context)
        self.feature_info = _one_level(len(self.known), 1)
        self.num_features = len(self.known)

    def forward_features(
        self, x_BCHW: Tensor, bands: Sequence[Channel] | None = None, valid: Tensor | None = None
    ) -> list[Tensor]:
        """One level, (B, C, H, W): the bands, with mean 0 and deviation 1."""
        return [self.normalize(x_BCHW, bands, valid)]

    def embed(
        self, x_BCHW: Tensor, bands: Sequence[Channel] | None = None, valid: Tensor | None = None
    ) -> Tensor:
        """Statistics of the normalised bands' valid pixels, (B, 5 C); 0 where a band has none."""
        x_BCHW, usable_BCHW = self.select(x_BCHW, bands, valid)
        images = self.scale(x_BCHW).cpu().numpy()
        masks = usable_BCHW.cpu().numpy()
        statistics_BD = np.stack(
            [image_statistics(image, mask) for image, mask in zip(images, masks, strict=True)]
        )
        # Of the whole training split the normalised deviation is 1.
        statistics_BD[:, 1 :: 2 + len(PERCENTILES)] -= 1
        return torch.from_numpy(np.nan_to_num(statistics_BD)).to(x_BCHW.device)


class Constant(nn.Module):
    """Tells nothing of an image, so that a probe can only learn what is most frequent."""

    def __init__(self) -> None:
        super().__init__()
        self.feature_info = _one_level(1, 1)
        self.num_features = 1

    def forward_features(
        self, x_BCHW: Tensor, bands: Sequence[Channel] | None = None, valid: Tensor | None = None
    ) -> list[Tensor]:
        """One level of ones, (B, 1, H, W)."""
        return [torch.ones_like(x_BCHW[:, :1])]
