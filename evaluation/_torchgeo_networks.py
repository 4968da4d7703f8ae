"""TorchGeo's networks as feature pyramids: ResNets, ViTs, Swins and DOFA.

Tensor shapes: B batch, C given bands, K bands that it uses, H rows, W columns, N tokens, D width.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from timm.layers.pos_embed import resample_abs_pos_embed
from timm.models import FeatureInfo
from torch import Tensor, nn

from evaluation._adapters import BandAdapter, PyramidEncoder
from evaluation._timm_networks import any_size, pyramid_of
from evaluation.bands import served
from evaluation.context import DataContext
from sensors import Band, BandPlan, Channel, InputError
from specialists.backbone import pad_to_multiple

_FAMILIES = ("resnet", "vit_", "swin_", "dofa_")
_RADAR_WAVELENGTH_UM = 3.75  # DOFA's placeholder for Sentinel-1 (arXiv 2403.15356, its code)
_SWIN_STAGES = (1, 3, 5, 7)  # of torchvision's `features`; in between it halves the map
_CLASSIFIERS = ("head.", "fc.")
_REPLACEABLE = ("fc_norm.", "norm.")  # last norms, which published files may leave out


def build_torchgeo(
    name: str, weights: str | None, context: DataContext, bands: list[str] | None
) -> BandAdapter:
    """A TorchGeo network for the data's bands.

    Args:
        name: As in `torchgeo.models.list_models()`; a ResNet, ViT, Swin or DOFA.
        weights: Local file of a state dict, for exactly the bands that the network gets.
        context: The training split.
        bands: Names of its bands that the network gets, in order; all by default.

    Raises:
        InputError: If TorchGeo is not installed or has no such network, or the file does not fit.
    """
    try:
        from torchgeo.models import get_model, list_models
    except ImportError as error:
        raise InputError(
            f"torchgeo:{name} needs TorchGeo: pip install 'terraguild[torchgeo]'"
        ) from error
    known = [model for model in list_models() if model.startswith(_FAMILIES)]
    if name not in known:
        raise InputError(f"torchgeo:{name} is not one of torchgeo:{', torchgeo:'.join(known)}")
    count = len(context.positions(bands))
    model: Any
    if name.startswith("dofa_"):
        model = get_model(name, num_classes=0)
    elif name.startswith("swin_"):
        model = get_model(name)
        first = model.features[0][0]
        model.features[0][0] = nn.Conv2d(count, first.out_channels, first.kernel_size, first.stride)
    else:
        model = get_model(name, in_chans=count, num_classes=0, **any_size(name))
    if weights is not None:
        _load(model, Path(weights), name, count)
    if name.startswith("dofa_"):
        return DofaEncoder(model, context, bands)
    network = SwinPyramid(model) if name.startswith("swin_") else pyramid_of(model, name)
    return PyramidEncoder(network, context, bands)


class SwinPyramid(nn.Module):
    """The four stages of torchvision's Swin.

    Args:
        model: A `torchvision.models.SwinTransformer`.
    """

    def __init__(self, model: Any) -> None:  # noqa: ANN401 - either generation of Swin
        super().__init__()
        self.stages = model.features
        width, stride = self.stages[0][0].out_channels, self.stages[0][0].stride[0]
        self.feature_info = FeatureInfo(
            [
                {"num_chs": width * 2**n, "reduction": stride * 2**n, "module": f"stages.{stage}"}
                for n, stage in enumerate(_SWIN_STAGES)
            ],
            tuple(range(len(_SWIN_STAGES))),
        )

    def forward(self, x_BCHW: Tensor) -> list[Tensor]:
        """Levels (B, C_i, H / r_i, W / r_i)."""
        levels, x_BHWD = [], x_BCHW
        for number, stage in enumerate(self.stages):
            x_BHWD = stage(x_BHWD)
            if number in _SWIN_STAGES:
                levels.append(x_BHWD.permute(0, 3, 1, 2))
        return levels


class DofaEncoder(BandAdapter):
    """DOFA (arXiv 2403.15356): a ViT whose patch embedding follows from the bands' wavelengths.

    It takes any bands, each with its own wavelength, as long as one of its known bands says how
    such a band is to be scaled; others are left out.

    Args:
        model: TorchGeo's.
        context, names: As for `BandAdapter`.
    """

    def __init__(
        self,
        model: Any,  # noqa: ANN401 - of a library that is imported on demand
        context: DataContext,
        names: list[str] | None,
    ) -> None:
        super().__init__(context, names)
        self.model = model
        self._left_out = set(context.bands) - set(self.known)
        self.feature_info = FeatureInfo(
            [{"num_chs": model.embed_dim, "reduction": model.patch_size, "module": "blocks"}], (0,)
        )
        self.num_features = int(model.embed_dim)

    @property
    def bands(self) -> None:
        """None: it takes any."""

    def forward_features(
        self, x_BCHW: Tensor, bands: Sequence[Channel] | None = None, valid: Tensor | None = None
    ) -> list[Tensor]:
        """The tokens of the last block, normalised, (B, D, H / r, W / r).

        Raises:
            MissingBandsError: If none of the bands can be used.
        """
        given = self.known if bands is None else tuple(bands)
        own = served([band for band in given if band not in self._left_out], self.known)
        if not own:
            BandPlan.match(self.known, given).require()
        rows = [given.index(band) for band in own]
        scaling = BandPlan.match(own, self.known)
        usable = x_BCHW.isfinite() if valid is None else x_BCHW.isfinite() & valid
        x_BKHW = (x_BCHW[:, rows] - scaling.apply(self.mean_K11)) / scaling.apply(self.std_K11)
        x_BKHW = torch.where(usable[:, rows], x_BKHW, 0)
        return [self._tokens(pad_to_multiple(x_BKHW, self.model.patch_size), own)]

    def _tokens(self, x_BKHW: Tensor, bands: Sequence[Channel]) -> Tensor:
        size = [edge // self.model.patch_size for edge in x_BKHW.shape[-2:]]
        wavelengths_K = torch.tensor([_wavelength(band) for band in bands], device=x_BKHW.device)
        tokens_BND, _ = self.model.patch_embed(x_BKHW, wavelengths_K)
        position_1ND = resample_abs_pos_embed(self.model.pos_embed, size)
        first_B1D = (self.model.cls_token + position_1ND[:, :1]).expand(len(tokens_BND), -1, -1)
        tokens_BND = torch.cat([first_B1D, tokens_BND + position_1ND[:, 1:]], dim=1)
        for block in self.model.blocks:
            tokens_BND = block(tokens_BND)
        tokens_BDN: Tensor = self.model.fc_norm(tokens_BND[:, 1:]).transpose(1, 2)
        return tokens_BDN.reshape(*tokens_BDN.shape[:2], *size)


def _wavelength(band: Channel) -> float:
    return band.center_wavelength if isinstance(band, Band) else _RADAR_WAVELENGTH_UM


def _load(model: nn.Module, path: Path, name: str, count: int) -> None:
    if not path.is_file():
        raise InputError(f"torchgeo:{name}: {path} is not a file; give a local state dict")
    try:
        if path.suffix == ".safetensors":
            tensors = load_file(path)
        else:
            tensors = torch.load(path, map_location="cpu", weights_only=True)
        tensors = {key: value for key, value in tensors.items() if not key.startswith(_CLASSIFIERS)}
        absent, unknown = model.load_state_dict(tensors, strict=False)
    except Exception as error:  # whatever a broken or foreign file makes its readers raise
        raise InputError(
            f"torchgeo:{name} for {count} bands cannot take {path} ({type(error).__name__}: "
            f"{error!s:.500}); name the bands that the weights were trained on with bands"
        ) from error
    absent = [key for key in absent if not key.startswith(_CLASSIFIERS + _REPLACEABLE)]
    if absent or unknown:
        raise InputError(
            f"{path} does not hold a {name}: missing {', '.join(absent[:3]) or 'none'}; "
            f"unexpected {', '.join(unknown[:3]) or 'none'}"
        )
