"""The trunk: one vision transformer for any stack of bands (DOFA, arXiv 2403.15356).

Tensor shapes: B batch, C bands, H rows, W columns, N patches (row by row), T = 1 + N tokens (class
token first), D width.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Self

import torch
import torch.nn.functional as F
from timm.layers.pos_embed import resample_abs_pos_embed
from timm.layers.pos_embed_sincos import build_sincos2d_pos_embed
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from router._pyramid import describe_levels, resample_levels
from router.band_statistics import BandScaling
from router.trunk_spec import TRUNKS, TrunkSpec
from sensors.bands import Channel
from sensors.errors import InputError
from specialists.wavelength import DynamicPatchEmbed

_LAYER_SCALE_START = 1e-5


def build_trunk(spec: TrunkSpec | str) -> "Trunk":
    """A trunk with random weights.

    Args:
        spec: What to build, or a name from `router.trunk_spec.TRUNKS` such as `dofa-nano`.

    Raises:
        InputError: If there is no trunk of that name.
    """
    if isinstance(spec, str):
        if spec not in TRUNKS:
            raise InputError(f"no trunk {spec!r}; there are {', '.join(TRUNKS)}")
        spec = TRUNKS[spec]
    return Trunk(spec)


class Trunk(nn.Module):
    """A DOFA: a vision transformer whose patch embedding follows from the bands.

    It takes any bands, in any number and order, and keeps the contract of every feature network
    here: `forward_features` gives a list of (B, C_i, H / r_i, W / r_i), finest first,
    `feature_info.channels()` and `feature_info.reduction()` give C_i and r_i, `num_features` is D.

    Args:
        spec: What to build; weights are random.
    """

    pos_embed: Tensor

    def __init__(self, spec: TrunkSpec) -> None:
        super().__init__()
        self.spec = spec
        self.grad_checkpointing = False
        self.scaling = BandScaling(spec)
        self.patch_embed = DynamicPatchEmbed(
            spec.width,
            spec.patch_size,
            padding=spec.padding,
            sar_convention=spec.sar_convention,
            band_reduction=spec.band_reduction,
            hidden_size=spec.generator_hidden_size,
        )
        self.cls_token = nn.Parameter(torch.randn(1, 1, spec.width) * 0.02)
        self.register_buffer("pos_embed", _position_embedding(spec))
        norm: Any = partial(nn.LayerNorm, eps=1e-6)
        self.blocks = nn.ModuleList(
            Block(
                spec.width,
                spec.num_heads,
                qkv_bias=True,
                init_values=_LAYER_SCALE_START if spec.layer_scale else None,
                norm_layer=norm,
            )
            for _ in range(spec.depth)
        )
        self.norm = norm(spec.width) if spec.norm == "tokens" else nn.Identity()
        self.fc_norm = norm(spec.width) if spec.norm == "pooled" else nn.Identity()
        for module in self.blocks.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        self.feature_info = describe_levels(spec)

    @property
    def bands(self) -> None:
        """None: it takes any."""

    @property
    def num_features(self) -> int:
        """Width of every level and of `embed`."""
        return self.spec.width

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Compute blocks again in the backward pass, instead of keeping what they computed."""
        self.grad_checkpointing = enable

    def set_statistics(
        self, bands: Sequence[Channel], mean: Sequence[float], std: Sequence[float]
    ) -> None:
        """Normalise these bands by these statistics from now on; `spec` follows.

        Args:
            bands: Bands.
            mean: Per band, in its physical unit.
            std: Standard deviation per band.

        Raises:
            InputError: If their numbers differ, or one cannot be a mean or standard deviation.
        """
        self.spec = replace(self.spec, bands=tuple(bands), mean=tuple(mean), std=tuple(std))
        self.scaling = BandScaling(self.spec)

    def normalize(
        self, x_BCHW: Tensor, bands: Sequence[Channel] | None = None, valid: Tensor | None = None
    ) -> Tensor:
        """Pixels with about mean 0 and standard deviation 1, see `router.band_statistics`.

        Args:
            x_BCHW: Physical pixels.
            bands: What each channel measures; without it, they are `spec.bands` in this order.
            valid: True where a pixel was measured, shape of `x_BCHW`. All others become 0, the mean
                of their band.

        Raises:
            InputError: If shapes do not fit together, or a valid pixel is not finite.
        """
        given = self._given(x_BCHW, bands, valid)
        weight = self.cls_token
        shift_C11, scale_C11 = self.scaling.shift_and_scale(given, weight.device, weight.dtype)
        x_BCHW = torch.addcmul(shift_C11, x_BCHW.to(weight.dtype), scale_C11)
        if valid is not None:
            x_BCHW = x_BCHW.where(valid, 0)
        _refuse_broken(x_BCHW, given)
        return x_BCHW

    def _given(
        self, x_BCHW: Tensor, bands: Sequence[Channel] | None, valid: Tensor | None
    ) -> tuple[Channel, ...]:
        given = self.spec.bands if bands is None else tuple(bands)
        if x_BCHW.ndim != 4 or 0 in x_BCHW.shape[-2:]:
            raise InputError(
                f"expected an image batch of shape (B, C, H, W), got {tuple(x_BCHW.shape)}"
            )
        if x_BCHW.shape[1] != len(given) or not given:
            names = ", ".join(band.name for band in given) or "none"
            advice = "; say with `bands` what each channel measures" if bands is None else ""
            raise InputError(
                f"got {x_BCHW.shape[1]} channels for {len(given)} bands ({names}){advice}"
            )
        if valid is not None and (valid.shape != x_BCHW.shape or valid.dtype != torch.bool):
            raise InputError(
                f"valid is {valid.dtype} of shape {tuple(valid.shape)}, "
                f"expected torch.bool of the image's shape {tuple(x_BCHW.shape)}"
            )
        return given

    def embed_patches(
        self, x_BCHW: Tensor, bands: Sequence[Channel] | None = None, valid: Tensor | None = None
    ) -> Tensor:
        """Tokens of the patches with their positions, (B, N, D), as the first block gets them.

        Arguments and errors as for `normalize`; an image that is not made of whole patches is
        refused, too.
        """
        grid = self.patch_embed.grid(*x_BCHW.shape[-2:])
        x_BCHW = self.normalize(x_BCHW, bands, valid)
        given = self.spec.bands if bands is None else tuple(bands)
        tokens_BND: Tensor = self.patch_embed(x_BCHW, given)
        return tokens_BND + self._positions(grid)[:, 1:]

    def _positions(self, grid: tuple[int, int]) -> Tensor:
        positions_1TD: Tensor = resample_abs_pos_embed(self.pos_embed, list(grid))
        return positions_1TD

    def run_blocks(self, tokens_BND: Tensor) -> Iterator[Tensor]:
        """Put the class token first and give the tokens (B, T, D) after each block in turn.

        Args:
            tokens_BND: From `embed_patches`, all or any of them.
        """
        first_B1D = (self.cls_token + self.pos_embed[:, :1]).expand(len(tokens_BND), -1, -1)
        tokens_BTD = torch.cat([first_B1D, tokens_BND], dim=1)
        for block in self.blocks:
            if self.grad_checkpointing and torch.is_grad_enabled():
                tokens_BTD = checkpoint(block, tokens_BTD, use_reentrant=False)
            else:
                tokens_BTD = block(tokens_BTD)
            yield tokens_BTD

    def forward_tokens(
        self,
        x_BCHW: Tensor,
        bands: Sequence[Channel] | None = None,
        valid: Tensor | None = None,
        keep_BN: Tensor | None = None,
    ) -> Tensor:
        """Tokens (B, T, D) of the last block, after the last norm where `spec.norm` is `tokens`.

        Args:
            x_BCHW: As for `normalize`.
            bands: As for `normalize`.
            valid: As for `normalize`.
            keep_BN: Numbers of the patches that the blocks see, the same number of them for every
                image; all if not given.

        Raises:
            InputError: As for `embed_patches`.
        """
        tokens_BND = self.embed_patches(x_BCHW, bands, valid)
        if keep_BN is not None:
            tokens_BND = tokens_BND.take_along_dim(keep_BN[..., None], dim=1)
        *_, tokens_BTD = self.run_blocks(tokens_BND)
        normed_BTD: Tensor = self.norm(tokens_BTD)
        return normed_BTD

    def embed(
        self, x_BCHW: Tensor, bands: Sequence[Channel] | None = None, valid: Tensor | None = None
    ) -> Tensor:
        """One vector (B, D) for an image: the mean of its patches' tokens.

        Arguments and errors as for `embed_patches`.
        """
        tokens_BTD = self.forward_tokens(x_BCHW, bands, valid)
        pooled_BD: Tensor = self.fc_norm(tokens_BTD[:, 1:].mean(1))
        return pooled_BD

    def forward(
        self, x_BCHW: Tensor, bands: Sequence[Channel] | None = None, valid: Tensor | None = None
    ) -> Tensor:
        """The same as `embed`."""
        return self.embed(x_BCHW, bands, valid)

    def forward_features(
        self, x_BCHW: Tensor, bands: Sequence[Channel] | None = None, valid: Tensor | None = None
    ) -> list[Tensor]:
        """A pyramid from four depths of the network, the finest from the first of them.

        Tokens pass the last norm and are resampled (bilinear, or averaged for the coarsest). Where
        the coarsest level is twice as coarse as a patch and a side has an odd number of patches,
        the last ones are repeated, as if the image had been padded.

        Arguments and errors as for `embed_patches`.

        Returns:
            (B, D, H / r_i, W / r_i) for r_i in `feature_info.reduction()`.
        """
        return self.embed_and_features(x_BCHW, bands, valid)[1]

    def embed_and_features(
        self, x_BCHW: Tensor, bands: Sequence[Channel] | None = None, valid: Tensor | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """What `embed` and `forward_features` give, from one pass; arguments as there."""
        grid = self.patch_embed.grid(*x_BCHW.shape[-2:])
        places = [int(name.split(".")[1]) for name in self.feature_info.module_name()]
        outputs = list(self.run_blocks(self.embed_patches(x_BCHW, bands, valid)))
        maps = [
            self.fc_norm(self.norm(outputs[place][:, 1:])).transpose(1, 2).unflatten(2, grid)
            for place in places
        ]
        pooled_BD: Tensor = self.fc_norm(self.norm(outputs[-1])[:, 1:].mean(1))
        levels = resample_levels(maps, self.spec.patch_size, self.feature_info.reduction())
        return pooled_BD, levels

    def freeze(self) -> Self:
        """No gradient, and evaluation mode."""
        return self.requires_grad_(False).eval()


def _refuse_broken(x_BCHW: Tensor, bands: Sequence[Channel]) -> None:
    """Refuse values that are not finite; on the meta device there are none to look at."""
    # A sum is not finite if one of its terms is not: one pass and no copy in all other cases.
    if x_BCHW.is_meta or x_BCHW.sum().isfinite():
        return
    counts = (~x_BCHW.isfinite()).sum((0, 2, 3)).tolist()
    names = [f"{band.name} ({count})" for band, count in zip(bands, counts, strict=True) if count]
    if names:
        raise InputError(
            f"pixels that are not finite numbers in {', '.join(names)}; give `valid`, False where "
            "nothing was measured"
        )


def _position_embedding(spec: TrunkSpec) -> Tensor:
    """Sines and cosines of row and column, (1, T, D); 0 for the class token."""
    edge = spec.image_size // spec.patch_size
    positions_ND = build_sincos2d_pos_embed([edge, edge], dim=spec.width)
    return F.pad(positions_ND, (0, 0, 1, 0))[None]
