"""Filters for any bands, generated from what the bands measure: the stem, and the head's own look.

The dynamic weight generator of DOFA (arXiv 2403.15356, section 3.2, see `specialists.wavelength`)
in front of a ConvNeXtV2. No weight depends on the number of bands or on their order, so that those
who hold images of different sensors can train one network together.

Tensor shapes: B batch, C bands, H rows, W columns, D generated channels, K outputs.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sensors.bands import Channel
from specialists.heads import build_head
from specialists.spec import SpecialistSpec
from specialists.wavelength import DynamicPatchEmbed

STEM_KERNEL = 4
MIXTURES = 16
"""Channels that a head sees in the place of the image's bands, which may be any number."""
_HIDDEN_SIZE = 256  # of the generator's MLP: DOFA's 2048 would be a sixth of an Atto


class WavelengthConv(nn.Module):
    """A convolution of any bands; its filters follow from what they measure.

    The bands' parts are averaged, not summed, so that what comes out is of one size for three bands
    and for two hundred. Generated filters are kept while nothing is learned, see
    `DynamicPatchEmbed`.

    Args:
        channels: D.
        kernel: Edge of a filter.
        stride, padding: As of any convolution.
    """

    def __init__(self, channels: int, kernel: int, *, stride: int = 1, padding: int = 0) -> None:
        super().__init__()
        self.stride, self.padding = stride, padding
        self.generator = DynamicPatchEmbed(channels, kernel, hidden_size=_HIDDEN_SIZE)

    def forward(self, x_BCHW: Tensor, bands: Sequence[Channel]) -> Tensor:
        """Maps (B, D, H', W').

        Args:
            x_BCHW: Normalised pixels.
            bands: What each channel measures.
        """
        # In an order of their own, so that the given one does not even matter in the last bit.
        key = self.generator.channel_encoder.key
        order = sorted(range(len(bands)), key=lambda number: key(bands[number]))
        if order != list(range(len(bands))):
            x_BCHW = x_BCHW[:, order]
        filters_CKKD, bias_D = self.generator.generate([bands[number] for number in order])
        filters_DCKK = filters_CKKD.permute(3, 0, 1, 2)
        return F.conv2d(x_BCHW, filters_DCKK, bias_D, stride=self.stride, padding=self.padding)

    @torch.no_grad()
    def as_convolution(self, bands: Sequence[Channel]) -> nn.Conv2d:
        """The same for these bands in this order alone, with a copy of their filters."""
        filters_CKKD, bias_D = self.generator.generate(bands)
        fixed = nn.Conv2d(
            len(bands),
            self.generator.embed_dim,
            self.generator.patch_size,
            stride=self.stride,
            padding=self.padding,
        )
        fixed.weight.copy_(filters_CKKD.permute(3, 0, 1, 2))
        assert fixed.bias is not None
        fixed.bias.copy_(bias_D)
        return fixed.requires_grad_(False)


class MixingHead(nn.Module):
    """A head that looks at the image, for any bands: it is shown mixtures of them, pixel by pixel.

    Args:
        spec: The task.
        channels, reductions: Of every level, finest first.
    """

    def __init__(
        self, spec: SpecialistSpec, channels: Sequence[int], reductions: Sequence[int]
    ) -> None:
        super().__init__()
        self.mixer = WavelengthConv(MIXTURES, 1)
        self.reader = build_head(spec, channels, reductions, MIXTURES)

    def forward(
        self, features: Sequence[Tensor], x_BCHW: Tensor, bands: Sequence[Channel]
    ) -> Tensor:
        """Outputs (B, K) or (B, K, H, W) from the pyramid and the normalised image of any bands."""
        outputs: Tensor = self.reader(features, self.mixer(x_BCHW, bands))
        return outputs


def build_stem(channels: int, stride: int) -> WavelengthConv:
    """The stem: kernel and padding as of a fixed one, see `specialists.backbone`."""
    return WavelengthConv(channels, STEM_KERNEL, stride=stride, padding=1 if stride == 2 else 0)
