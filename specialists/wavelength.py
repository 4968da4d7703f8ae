"""A patch embedding for any stack of bands, its filters generated from what the bands measure.

The wavelength-conditioned patch embedding of DOFA (arXiv 2403.15356, section 3.2), with its
parameters' names, so that published weights fit.

Tensor shapes: B batch, C bands, H rows, W columns, E size of a band's code, K edge of a patch,
N patches (row by row), D width of a token.
"""

import functools
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sensors.bands import POLARIZATIONS, Channel, SarChannel
from sensors.errors import InputError

CODE_SIZE = 128
SAR_WAVELENGTHS_UM = {"dofa-v1": 3.75, "dofa-v2": 5.405}
"""Which wavelength published weights were trained to take every radar channel for."""
SAR_CONVENTIONS = ("polarization", *SAR_WAVELENGTHS_UM)
BAND_REDUCTIONS = ("mean", "sum")
FILTER_SCALE = 0.01
"""What a generator's outputs are multiplied by, in published weights and everywhere here."""
GENERATOR_NORM = 21
"""About the norm of what the last layer of a generator gets at first."""

_FILTER_TOKENS = 128
_GENERATOR_HEADS = 4
_REFERENCE_BANDS = 9  # a mean over bands is scaled to be the sum for this many
_KEPT_BAND_LISTS = 4


class ChannelEncoder(nn.Module):
    """What a band measures, as a vector of `CODE_SIZE`.

    An optical or thermal band is the sine and cosine of its centre wavelength (DOFA, equation 1).
    A radar channel has a frequency and a polarisation, and no wavelength that optics would share:
    with the convention `polarization` it is the same encoding of its frequency (GHz in the place of
    micrometres) plus a learned vector for its polarisation. The published weights know radar
    by a single placeholder instead, VV and VH alike.

    Args:
        sar_convention: One of `SAR_CONVENTIONS`.

    Raises:
        InputError: If the convention is unknown.
    """

    def __init__(self, sar_convention: str = "polarization") -> None:
        super().__init__()
        if sar_convention not in SAR_CONVENTIONS:
            raise InputError(
                f"SAR convention {sar_convention!r} is not one of {', '.join(SAR_CONVENTIONS)}"
            )
        self.placeholder = SAR_WAVELENGTHS_UM.get(sar_convention)
        if self.placeholder is None:
            # As large as the sines and cosines that they are added to.
            self.polarization = nn.Parameter(torch.randn(len(POLARIZATIONS), CODE_SIZE) * 0.5**0.5)

    def key(self, band: Channel) -> tuple[float, int]:
        """All that the code depends on: a wavelength (or frequency), and a polarisation or -1."""
        if not isinstance(band, SarChannel):
            return band.center_wavelength, -1
        if self.placeholder is not None:
            return self.placeholder, -1
        return band.center_frequency, POLARIZATIONS.index(band.polarization)

    def forward(self, bands: Sequence[Channel]) -> Tensor:
        """Codes (C, E) in float32."""
        positions, polarizations = zip(*map(self.key, bands), strict=True)
        codes_CE = _encode_positions(positions)
        if self.placeholder is not None:
            return codes_CE
        codes_CE = codes_CE.to(self.polarization.device)
        radar = [row for row, index in enumerate(polarizations) if index >= 0]
        if not radar:
            return codes_CE
        added_RE = self.polarization[[polarizations[row] for row in radar]]
        rows_R = torch.tensor(radar, device=codes_CE.device)
        return codes_CE.index_add(0, rows_R, added_RE.to(codes_CE.dtype))


@functools.lru_cache(maxsize=64)
def _encode_positions(positions: tuple[float, ...]) -> Tensor:
    """Sines, then cosines of 1000 p / 10000^(i / 64), in float32 as the weights were trained."""
    half = CODE_SIZE // 2
    with torch.inference_mode(False), torch.device("cpu"):
        frequencies = 1 / 10000 ** (torch.arange(half, dtype=torch.float32) / half)
        angles = torch.outer(torch.tensor(positions, dtype=torch.float32) * 1000, frequencies)
        return torch.cat([angles.sin(), angles.cos()], dim=1)


class ResidualLayer(nn.Module):
    """Two linear layers, each followed by a ReLU, beside a skip connection."""

    def __init__(self) -> None:
        super().__init__()
        self.w1 = nn.Linear(CODE_SIZE, CODE_SIZE)
        self.w2 = nn.Linear(CODE_SIZE, CODE_SIZE)

    def forward(self, codes_CE: Tensor) -> Tensor:
        """Same shape."""
        added_CE: Tensor = self.w2(self.w1(codes_CE).relu()).relu()
        return codes_CE + added_CE


def full_precision(device: torch.device) -> AbstractContextManager[Any]:
    """For generating filters in float32 under autocast, too: it is a small part of the work."""
    if torch.amp.is_autocast_available(device.type):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()


class WeightGenerator(nn.Module):
    """Rows of filters from codes of bands: one transformer layer over learned tokens and the codes.

    Every band's output, with its code added, becomes its filter; that of the bias token becomes the
    bias (DOFA, section 3.2).

    Args:
        filter_size: Numbers in the filter of one band.
        bias_size: Numbers in the bias; 0 for none.
        hidden_size: Width of the transformer layer's MLP.
    """

    def __init__(self, filter_size: int, bias_size: int, hidden_size: int = 2048) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(
            CODE_SIZE, _GENERATOR_HEADS, hidden_size, dropout=0.0, activation="gelu"
        )
        self.transformer_encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.fc_weight = nn.Linear(CODE_SIZE, filter_size)
        self.weight_tokens = nn.Parameter(torch.randn(_FILTER_TOKENS, CODE_SIZE) * 0.02)
        if bias_size:
            self.fc_bias = nn.Linear(CODE_SIZE, bias_size)
            self.bias_token = nn.Parameter(torch.randn(1, CODE_SIZE) * 0.02)
        self.has_bias = bias_size > 0

    def forward(self, codes_CE: Tensor) -> tuple[Tensor, Tensor | None]:
        """Filters (C, filter_size), and the bias (bias_size,) if there is one."""
        tokens = [self.weight_tokens, codes_CE] + ([self.bias_token] if self.has_bias else [])
        outputs_TE = self.transformer_encoder(torch.cat(tokens))
        last = _FILTER_TOKENS + len(codes_CE)
        filters = self.fc_weight(outputs_TE[_FILTER_TOKENS:last] + codes_CE)
        return filters, self.fc_bias(outputs_TE[-1]) if self.has_bias else None


class DynamicPatchEmbed(nn.Module):
    """Cuts an image of any bands into patches and makes each a token.

    Filters follow from the bands alone. In evaluation mode, where no gradient is wanted, they are
    generated once for a list of bands and kept until a parameter changes (the last few lists).

    Args:
        embed_dim: D, width of a token.
        patch_size: K, edge of a patch.
        padding: Rows and columns of zeros above and left of the image, whose last ones are left out
            in turn: 1 in DOFA's published weights, where patches begin one pixel early.
        sar_convention: One of `SAR_CONVENTIONS`, see `ChannelEncoder`.
        band_reduction: How bands come together in a token: `sum`, as in the published weights, or
            `mean`, so that a token is of one size whatever the number of bands, and saying a band
            twice changes nothing but the filters. For 9 bands they are the same.
        hidden_size: Width of the generator's MLP, 2048 in published weights.

    Raises:
        InputError: If `sar_convention` is unknown.
    """

    def __init__(
        self,
        embed_dim: int,
        patch_size: int,
        *,
        padding: int = 0,
        sar_convention: str = "polarization",
        band_reduction: str = "mean",
        hidden_size: int = 2048,
    ) -> None:
        super().__init__()
        self.embed_dim, self.patch_size, self.padding = embed_dim, patch_size, padding
        self.band_reduction = band_reduction
        self.channel_encoder = ChannelEncoder(sar_convention)
        self.fclayer = ResidualLayer()
        self.weight_generator = WeightGenerator(
            patch_size * patch_size * embed_dim, embed_dim, hidden_size
        )
        self._kept: OrderedDict[Any, tuple[Any, tuple[Tensor, Tensor]]] = OrderedDict()
        self._init_weights()

    def _init_weights(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.constant_(module.bias, 0.01)
        # Filters that turn 9 normalised bands into tokens of about unit variance, if what the last
        # layer gets is of the usual norm, and filters of different bands are much alike, as both
        # are at first.
        spread = 1 / (self.patch_size * _REFERENCE_BANDS * GENERATOR_NORM * FILTER_SCALE)
        nn.init.normal_(self.weight_generator.fc_weight.weight, std=spread)

    def encode(self, bands: Sequence[Channel]) -> Tensor:
        """What filters are generated from: codes (C, E), after the residual layer."""
        codes_CE = self.channel_encoder(bands)
        codes: Tensor = self.fclayer(codes_CE.to(self.fclayer.w1.weight))
        return codes

    def generate(self, bands: Sequence[Channel]) -> tuple[Tensor, Tensor]:
        """Filters (C, K, K, D) and bias (D,) for a list of bands, as they are applied."""
        if self.training or (torch.is_grad_enabled() and self._has_gradient()):
            return self._generate(bands)
        key, state = tuple(map(self.channel_encoder.key, bands)), self._state()
        kept = self._kept.pop(key, None)
        if kept is None or state is None or kept[0] != state:
            with torch.inference_mode(False), torch.no_grad():
                kept = (state, self._generate(bands))
        self._kept[key] = kept
        while len(self._kept) > _KEPT_BAND_LISTS:
            self._kept.popitem(last=False)
        return kept[1]

    def _generate(self, bands: Sequence[Channel]) -> tuple[Tensor, Tensor]:
        with full_precision(self.fclayer.w1.weight.device):
            filters, bias_D = self.weight_generator(self.encode(bands))
        scale = FILTER_SCALE
        if self.band_reduction == "mean":
            scale *= _REFERENCE_BANDS / len(bands)
        size = self.patch_size
        return (filters * scale).view(-1, size, size, self.embed_dim), bias_D * FILTER_SCALE

    def _has_gradient(self) -> bool:
        return any(weight.requires_grad for weight in self.parameters())

    def _state(self) -> list[tuple[int, int]] | None:
        """Changes when a parameter is written or replaced; None if torch does not say."""
        weights = list(self.parameters())
        if any(weight.is_inference() for weight in weights):
            return None
        return [(weight.data_ptr(), weight._version) for weight in weights]

    def train(self, mode: bool = True) -> "DynamicPatchEmbed":
        """Set training mode; generated filters are forgotten."""
        self._kept.clear()
        return super().train(mode)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_kept": OrderedDict()}

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of patches in an image.

        Raises:
            InputError: If the image is not made of whole patches; says which sizes would do.
        """
        size = self.patch_size
        if height % size or width % size or not height or not width:
            fitting = [max(1, edge // size) * size for edge in (height, width)]
            above = [-(-max(1, edge) // size) * size for edge in (height, width)]
            raise InputError(
                f"an image of {height} x {width} pixels is not made of whole patches of {size} x "
                f"{size}; resize, crop or pad it: {' x '.join(map(str, fitting))} and "
                f"{' x '.join(map(str, above))} fit"
            )
        return height // size, width // size

    def forward(self, x_BCHW: Tensor, bands: Sequence[Channel]) -> Tensor:
        """Tokens (B, N, D).

        Args:
            x_BCHW: Normalised pixels.
            bands: What each channel measures.

        Raises:
            InputError: If the numbers of channels and bands differ, or the image is not made of
                whole patches.
        """
        if x_BCHW.shape[1] != len(bands) or not bands:
            names = ", ".join(band.name for band in bands) or "none"
            raise InputError(f"got {x_BCHW.shape[1]} channels for {len(bands)} bands ({names})")
        rows, columns = self.grid(*x_BCHW.shape[-2:])
        filters_CKKD, bias_D = self.generate(bands)
        if self.padding:
            begin = self.padding
            x_BCHW = F.pad(x_BCHW, (begin, -begin, begin, -begin))
        size = self.patch_size
        patches = x_BCHW.reshape(len(x_BCHW), len(bands), rows, size, columns, size)
        patches_PI = patches.permute(0, 2, 4, 1, 3, 5).reshape(-1, len(bands) * size * size)
        tokens_PD = torch.addmm(bias_D, patches_PI, filters_CKKD.flatten(0, 2))
        return tokens_PD.view(len(x_BCHW), rows * columns, self.embed_dim)
