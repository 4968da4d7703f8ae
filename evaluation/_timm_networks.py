"""Any timm network as a feature pyramid."""

from contextlib import suppress
from typing import Any

import timm
import torch
from timm.models import FeatureInfo
from torch import Tensor, nn

from evaluation._adapters import PyramidEncoder
from evaluation.context import DataContext
from sensors import InputError

# What lets networks that were made for one image size take others: ViTs resample their position
# embeddings, Swins work with any number of windows. Others take neither argument.
_ANY_SIZE: tuple[dict[str, Any], ...] = (
    {"dynamic_img_size": True},
    {"strict_img_size": False},
)


class Pyramid(nn.Module):
    """The levels of a timm network: the deepest output at each reduction, finest first.

    Args:
        model: With timm's `forward_intermediates`; what lies behind the last level is removed.
    """

    def __init__(self, model: Any) -> None:  # noqa: ANN401 - timm ships no types
        super().__init__()
        reductions = [level["reduction"] for level in model.feature_info]
        deepest = {reduction: index for index, reduction in enumerate(reductions)}
        self.indices = [deepest[reduction] for reduction in sorted(deepest)]
        # The blocks of a plain transformer add to one stream, which its last norm brings to scale.
        self.norm = len(self.indices) == 1
        self.feature_info = FeatureInfo(model.feature_info, tuple(self.indices))
        model.prune_intermediate_layers(self.indices, prune_norm=not self.norm, prune_head=True)
        self.model = model

    def forward(self, x_BCHW: Tensor) -> list[Tensor]:
        """Levels (B, C_i, H / r_i, W / r_i)."""
        levels: list[Tensor] = self.model.forward_intermediates(
            x_BCHW, indices=self.indices, norm=self.norm, intermediates_only=True
        )
        return levels


def build_timm(
    name: str, weights: str | None, context: DataContext, bands: list[str] | None
) -> PyramidEncoder:
    """A timm network for the data's bands.

    Args:
        name: As in `timm.list_models()`.
        weights: Local weight file; timm adapts the first convolution to the number of bands.
        context: The training split.
        bands: Names of its bands that the network gets, in order; all by default.

    Raises:
        InputError: If timm has no such network, it gives no pyramid, or the file does not fit.
    """
    if not timm.is_model(name):
        near = timm.list_models(f"*{name.split('_')[0]}*")[:5]
        raise InputError(
            f"timm has no model {name!r}" + (f"; similar: {', '.join(near)}" if near else "")
        )
    settings: dict[str, Any] = {"in_chans": len(context.positions(bands)), "num_classes": 0}
    if weights is not None:
        settings |= {"pretrained": True, "pretrained_cfg_overlay": {"file": weights}}
    try:
        model = timm.create_model(name, **settings, **any_size(name))
    except Exception as error:  # whatever a broken or foreign file makes its readers raise
        raise InputError(
            f"timm:{name} with weights {weights}: {type(error).__name__}: {error!s:.500}"
        ) from error
    return PyramidEncoder(pyramid_of(model, f"timm:{name}"), context, bands)


def any_size(name: str) -> dict[str, Any]:
    """The arguments that let a timm model take images of any size."""
    published = timm.get_pretrained_cfg(name)
    if published is not None and published.fixed_input_size:
        for extra in _ANY_SIZE:
            with suppress(TypeError), torch.device("meta"):
                timm.create_model(name, num_classes=0, **extra)
                return extra
    return {}


def pyramid_of(model: nn.Module, source: str) -> Pyramid:
    """The levels of a timm model.

    Raises:
        InputError: If it has none.
    """
    if not hasattr(model, "forward_intermediates"):
        raise InputError(f"{source} gives no feature maps: it has no forward_intermediates")
    return Pyramid(model)
