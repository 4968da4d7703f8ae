"""Networks from elsewhere under one contract: bands found by physics, then normalised.

Tensor shapes: B batch, C given bands, K the encoder's bands, H rows, W columns.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from evaluation.context import DataContext
from sensors import BandPlan, Channel
from specialists.backbone import pad_to_multiple


class BandAdapter(nn.Module):
    """Finds its bands in what is given, and scales them as the training split's.

    Args:
        context: The training split.
        names: Its bands that are wanted, in this order; all if not given.

    Attributes:
        known: The K bands that it can scale.
    """

    mean_K11: Tensor
    std_K11: Tensor

    def __init__(self, context: DataContext, names: list[str] | None = None) -> None:
        super().__init__()
        positions = context.positions(names)
        self.known = tuple(context.bands[k] for k in positions)
        for name, values in (("mean_K11", context.mean), ("std_K11", context.std)):
            self.register_buffer(name, torch.tensor([values[k] for k in positions])[:, None, None])

    @property
    def bands(self) -> tuple[Channel, ...] | None:
        """What it needs; None: it takes any."""
        return self.known

    def select(
        self, x_BCHW: Tensor, bands: Sequence[Channel] | None, valid: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Its bands, (B, K, H, W), and where they can be used.

        Raises:
            MissingBandsError: If one of them is not given.
        """
        if bands is not None:
            plan = BandPlan.match(self.known, bands).require()
            x_BCHW = plan.apply(x_BCHW)
            valid = None if valid is None else plan.apply_valid(valid)
        usable = x_BCHW.isfinite()
        return x_BCHW, usable if valid is None else usable & valid

    def scale(self, x_BKHW: Tensor) -> Tensor:
        """Mean 0 and standard deviation 1 over the training split, for each band."""
        return (x_BKHW - self.mean_K11) / self.std_K11

    def normalize(
        self, x_BCHW: Tensor, bands: Sequence[Channel] | None, valid: Tensor | None
    ) -> Tensor:
        """Its bands, scaled, (B, K, H, W); what cannot be used is 0, the mean of its band."""
        x_BKHW, usable = self.select(x_BCHW, bands, valid)
        return torch.where(usable, self.scale(x_BKHW), 0)


class PyramidEncoder(BandAdapter):
    """A network that turns K normalised bands into a feature pyramid.

    Args:
        network: Called with (B, K, H, W), it gives a list of levels; `feature_info` as timm's.
        context, names: As for `BandAdapter`.
    """

    def __init__(
        self, network: nn.Module, context: DataContext, names: list[str] | None = None
    ) -> None:
        super().__init__(context, names)
        self.network = network

    @property
    def feature_info(self) -> Any:  # noqa: ANN401 - timm ships no types
        """`channels()` and `reduction()` of every level."""
        return self.network.feature_info

    @property
    def num_features(self) -> int:
        """Width of the coarsest level."""
        return int(self.feature_info.channels()[-1])

    def forward_features(
        self, x_BCHW: Tensor, bands: Sequence[Channel] | None = None, valid: Tensor | None = None
    ) -> list[Tensor]:
        """Levels (B, C_i, H / r_i, W / r_i) of the padded image, finest first."""
        x_BKHW = self.normalize(x_BCHW, bands, valid)
        levels: list[Tensor] = self.network(
            pad_to_multiple(x_BKHW, self.feature_info.reduction()[-1])
        )
        return levels
