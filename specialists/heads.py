"""Heads: from a feature pyramid, and the normalised image itself, to the outputs of a task.

A head asks for nothing but `(features, x_BCHW)`, so that it fits every network that keeps the
pyramid contract (a list of (B, C_i, H / r_i, W / r_i), finest first).

`PyramidHead` and `PixelHead` look at the image once more beside the features: ConvNeXt's stem ends
in a LayerNorm, which takes the overall brightness of a patch away, and absolute reflectance is what
tells many land covers apart. The other heads look at nothing but features.

Tensor shapes: B batch, C channels, H rows, W columns, D pooled width, K outputs.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from segmentation_models_pytorch.base import SegmentationHead
from segmentation_models_pytorch.base.modules import Conv2dReLU
from segmentation_models_pytorch.decoders.fpn.decoder import FPNDecoder
from segmentation_models_pytorch.decoders.unet.decoder import UnetDecoder, UnetDecoderBlock
from timm.layers.norm import LayerNorm2d
from torch import Tensor, nn

from specialists.backbone import pad_to_multiple
from specialists.task_spec import TaskSpec

_DETAIL_CHANNELS = 16


def build_head(
    spec: TaskSpec,
    channels: Sequence[int],
    reductions: Sequence[int],
    in_chans: int | None = None,
) -> nn.Module:
    """The head that a spec asks for, on a pyramid of these widths and reductions.

    Args:
        spec: The task.
        channels: Width of every level, finest first.
        reductions: Reduction of every level.
        in_chans: Channels of the image, if they are not the task's bands.

    Returns:
        A module that maps `(features, x_BCHW)` to (B, K) or, per pixel, to (B, K, H, W); for
        similarity search, K is the width of the coarsest level.
    """
    if spec.task == "similarity-search":
        return MeanHead()
    outputs = len(spec.classes)
    in_chans = in_chans or len(spec.bands)
    if spec.is_per_pixel and spec.decoder == "linear":
        return LinearPixelHead(channels, reductions, outputs, drop_rate=spec.drop_rate)
    if spec.is_per_pixel:
        return PixelHead(
            channels,
            reductions,
            in_chans,
            outputs,
            decoder=spec.decoder,
            drop_rate=spec.drop_rate,
        )
    if spec.head == "pool":
        return PoolHead(channels, outputs, drop_rate=spec.drop_rate)
    return PyramidHead(
        channels,
        in_chans,
        outputs,
        hidden_size=spec.head_hidden_size,
        drop_rate=spec.drop_rate,
    )


def looks_at_image(spec: TaskSpec) -> bool:
    """Whether the head that a spec asks for reads the image beside the features."""
    if spec.task == "similarity-search":
        return False
    return spec.decoder != "linear" if spec.is_per_pixel else spec.head != "pool"


class MeanHead(nn.Module):
    """Mean of the coarsest level: the vector of an image that has no task yet; nothing to learn."""

    def forward(self, features: Sequence[Tensor], x_BCHW: Tensor) -> Tensor:
        """Vectors (B, C) of the coarsest level; the image is not looked at."""
        return features[-1].mean((2, 3))


class PoolHead(nn.Module):
    """Mean of the coarsest level, LayerNorm, linear: ConvNeXt's own classifier head."""

    def __init__(self, channels: Sequence[int], outputs: int, *, drop_rate: float = 0.0) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels[-1])
        self.drop = nn.Dropout(drop_rate)
        self.fc = nn.Linear(channels[-1], outputs)

    def forward(self, features: Sequence[Tensor], x_BCHW: Tensor) -> Tensor:
        """Logits (B, K) from the coarsest level; the image is not looked at."""
        logits_BK: Tensor = self.fc(self.drop(self.norm(features[-1].mean((2, 3)))))
        return logits_BK


class PyramidHead(nn.Module):
    """Mean and standard deviation of every level (then LayerNorm) and of every band, then linear.

    Args:
        channels: Width of every level.
        in_chans: Number of channels of the image.
        outputs: Number of outputs.
        hidden_size: Width of one hidden layer (GELU) before the outputs; 0 for none.
        drop_rate: Dropout before the last layer.
    """

    def __init__(
        self,
        channels: Sequence[int],
        in_chans: int,
        outputs: int,
        *,
        hidden_size: int = 0,
        drop_rate: float = 0.0,
    ) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(2 * width) for width in channels)
        pooled = 2 * (sum(channels) + in_chans)
        self.hidden = (
            nn.Sequential(nn.Linear(pooled, hidden_size), nn.GELU())
            if hidden_size
            else nn.Identity()
        )
        self.drop = nn.Dropout(drop_rate)
        self.fc = nn.Linear(hidden_size or pooled, outputs)

    def forward(self, features: Sequence[Tensor], x_BCHW: Tensor) -> Tensor:
        """Logits (B, K) from the pyramid and the normalised image."""
        levels = [
            norm(_mean_and_std(level)) for norm, level in zip(self.norms, features, strict=True)
        ]
        pooled_BD = torch.cat([*levels, _mean_and_std(x_BCHW)], dim=1)
        logits_BK: Tensor = self.fc(self.drop(self.hidden(pooled_BD)))
        return logits_BK


def _mean_and_std(x_BCHW: Tensor) -> Tensor:
    """Mean and standard deviation over the pixels, (B, 2 C)."""
    variance_BC, mean_BC = torch.var_mean(x_BCHW, dim=(2, 3), correction=0)
    # A flat map has variance 0, where the square root has no gradient.
    return torch.cat([mean_BC, (variance_BC + 1e-6).sqrt()], dim=1)


class PixelHead(nn.Module):
    """A decoder, then one block at full resolution that also sees every pixel's spectrum.

    The decoder (of segmentation-models-pytorch) works up to the finest level; the last block
    upsamples to the image, beside which it reads a few learned per-pixel mixtures of the bands
    (1 x 1 convolution), so that edges and absolute values are kept. Widths are chosen so that it
    takes about 1.4 (`unet`) or 2 times (`fpn`) the multiply-adds of a ConvNeXtV2-Atto backbone.

    Args:
        channels: Width of every level, at least four levels for `fpn`.
        reductions: Reduction of every level.
        in_chans: Number of channels of the image.
        outputs: Number of outputs a pixel.
        decoder: `unet` or `fpn`.
        drop_rate: Dropout of whole channels before the last layer.
    """

    def __init__(
        self,
        channels: Sequence[int],
        reductions: Sequence[int],
        in_chans: int,
        outputs: int,
        *,
        decoder: str = "unet",
        drop_rate: float = 0.0,
    ) -> None:
        super().__init__()
        self.coarsest = reductions[-1]
        # Both decoders take the image as a first entry of which they read nothing but its size. The
        # finest level stands in its place, so that they end at that level's resolution.
        widths_in = [channels[0], *channels]
        if decoder == "unet":
            widths_out = [max(32, width // 2) for width in channels[-2::-1]]
            widths_out.append(widths_out[-1])
            self.decoder = UnetDecoder(widths_in, widths_out, n_blocks=len(channels))
            decoded = widths_out[-1]
        else:
            self.decoder = FPNDecoder(
                widths_in,
                encoder_depth=len(channels),
                pyramid_channels=128,
                segmentation_channels=64,
                dropout=drop_rate,
            )
            decoded = self.decoder.out_channels
        self.detail = Conv2dReLU(in_chans, _DETAIL_CHANNELS, kernel_size=1)
        self.full_resolution = UnetDecoderBlock(decoded, _DETAIL_CHANNELS, _DETAIL_CHANNELS)
        self.drop = nn.Dropout2d(drop_rate)
        self.fc = SegmentationHead(_DETAIL_CHANNELS, outputs, kernel_size=1)

    def forward(self, features: Sequence[Tensor], x_BCHW: Tensor) -> Tensor:
        """Logits (B, K, H, W) for an image of any size and the features of that image, padded."""
        height, width = x_BCHW.shape[-2:]
        detail_BCHW = self.detail(pad_to_multiple(x_BCHW, self.coarsest))
        decoded_BCHW = self.decoder([features[0], *features])
        full_BCHW = self.full_resolution(decoded_BCHW, *detail_BCHW.shape[-2:], detail_BCHW)
        logits_BKHW: Tensor = self.fc(self.drop(full_BCHW))
        return logits_BKHW[..., :height, :width]


class LinearPixelHead(nn.Module):
    """One linear layer on all levels at once: each is normalised, projected, enlarged, and added.

    Args:
        channels: Width of every level.
        reductions: Reduction of every level.
        outputs: Number of outputs a pixel.
        drop_rate: Dropout of whole channels before the layer.
    """

    def __init__(
        self,
        channels: Sequence[int],
        reductions: Sequence[int],
        outputs: int,
        *,
        drop_rate: float = 0.0,
    ) -> None:
        super().__init__()
        self.finest = reductions[0]
        self.norms = nn.ModuleList(LayerNorm2d(width) for width in channels)
        self.drop = nn.Dropout2d(drop_rate)
        self.projections = nn.ModuleList(
            nn.Conv2d(width, outputs, kernel_size=1, bias=number == 0)
            for number, width in enumerate(channels)
        )

    def forward(self, features: Sequence[Tensor], x_BCHW: Tensor) -> Tensor:
        """Logits (B, K, H, W); of the image, nothing but its size is looked at."""
        height, width = x_BCHW.shape[-2:]
        whole = [self.finest * edge for edge in features[0].shape[-2:]]
        logits_BKHW = torch.stack(
            [
                F.interpolate(projection(self.drop(norm(level))), whole, mode="bilinear")
                for norm, projection, level in zip(
                    self.norms, self.projections, features, strict=True
                )
            ]
        ).sum(0)
        return logits_BKHW[..., :height, :width]
