"""Ensembles as encoders: what they are told by, and what of them an image touches.

Tensor shapes: B batch, C given bands, H rows, W columns, N images.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from torch import Tensor, nn

from router.ensemble import Ensemble
from sensors import Channel
from specialists.cost import count_parameters


class EnsembleEncoder(nn.Module):
    """An ensemble without a head, which decides once for each image.

    Args:
        ensemble: Any.
    """

    def __init__(self, ensemble: Ensemble) -> None:
        super().__init__()
        self.ensemble = ensemble

    @property
    def bands(self) -> None:
        """None: it takes any."""

    @property
    def feature_info(self) -> Any:  # noqa: ANN401 - timm ships no types
        """`channels()` and `reduction()` of every fused level."""
        return self.ensemble.feature_info

    @property
    def num_features(self) -> int:
        """Width of the coarsest level."""
        return self.ensemble.num_features

    @property
    def identity(self) -> dict[str, Any]:
        """What decides its features beside its own weights, JSON-plain."""
        pin = self.ensemble.trunk_pin
        return {
            "members": [member.pin.sha256 for member in self.ensemble.members],
            "trunk": None if pin is None else pin.sha256,
            "spec": self.ensemble.spec.to_dict(),
        }

    def forward_features(
        self, x_BCHW: Tensor, bands: Sequence[Channel] | None = None, valid: Tensor | None = None
    ) -> list[Tensor]:
        """Fused levels (B, C_i, H / r_i, W / r_i) of the padded image, finest first."""
        return self.ensemble.forward_features(x_BCHW, bands, valid)

    def gate_weights(
        self, x_BCHW: Tensor, bands: Sequence[Channel] | None = None, valid: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Weight (B,) of every member, by reference; 0 where it does not run."""
        return self.ensemble.gate_weights(x_BCHW, bands, valid)

    def features_and_gate(
        self, x_BCHW: Tensor, bands: Sequence[Channel] | None = None, valid: Tensor | None = None
    ) -> tuple[list[Tensor], dict[str, Tensor]]:
        """What the two above give, with one look of the gate."""
        routing = self.ensemble.route(x_BCHW, bands, valid)
        names = [member.reference for member in self.ensemble.members]
        levels = self.ensemble.forward_features(x_BCHW, bands, valid, routing=routing)
        return levels, dict(zip(names, routing.weights_BM.T, strict=True))

    def parameters_touched(self, gate: Mapping[str, ArrayLike]) -> int:
        """Weights that an image passes, in the mean over images.

        Gate and fusion count wholly, a member and the trunk by the share of images they run for.

        Args:
            gate: Weight (N,) of every member, by reference.
        """
        ran = {name: np.asarray(weight_N) > 0 for name, weight_N in gate.items()}
        networks = {member.reference: member.network for member in self.ensemble.members}
        members = sum(ran[name].mean() * count_parameters(networks[name]) for name in networks)
        spec, trunk = self.ensemble.spec, 0.0
        if self.ensemble.trunk is not None:
            share = 1.0 if spec.needs_trunk else float(np.mean(~np.any(list(ran.values()), axis=0)))
            trunk = share * count_parameters(self.ensemble.trunk)
        own = count_parameters(self.ensemble.gate) + count_parameters(self.ensemble.fusion)
        return round(own + trunk + float(members))

    def describe(self) -> str:
        """What it is, in a phrase."""
        spec, pin = self.ensemble.spec, self.ensemble.trunk_pin
        names = ", ".join(member.reference for member in self.ensemble.members)
        chosen = "all" if spec.takes_all else f"top {spec.top_k}"
        through = "" if pin is None else f", trunk {pin.reference}"
        return (
            f"{chosen} of {len(self.ensemble.members)} specialists ({names}) by the {spec.gate} "
            f"gate{through}, fused by {spec.fusion}"
        )
