"""A specialist: a small ConvNeXtV2 that knows its bands, with the head of its task.

Tensor shapes: B batch, C channels, H rows, W columns, K outputs.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from sensors.bands import Channel
from sensors.errors import InputError
from specialists.backbone import build_backbone, pad_to_multiple
from specialists.heads import build_head
from specialists.network import TaskNetwork
from specialists.spec import SpecialistSpec


def build_specialist(spec: SpecialistSpec) -> "Specialist":
    """A specialist with random weights; everything it can be made of is in a closed table."""
    return Specialist(spec)


class Specialist(TaskNetwork):
    """A network for one task on one set of bands.

    It keeps the contract of every feature network here: `forward_features` gives a list of (B, C_i,
    H / r_i, W / r_i), finest first, `feature_info.channels()` and `feature_info.reduction()` give
    C_i and r_i, `num_features` is the width of the coarsest level. Images of any size from 1 x 1
    pixel on are taken: they are padded inside to a multiple of the coarsest reduction, and H and W
    above are those of the padded image.

    Args:
        spec: What to build; weights are random.
    """

    spec: SpecialistSpec

    def __init__(self, spec: SpecialistSpec) -> None:
        super().__init__(spec)
        self.backbone = build_backbone(
            spec.architecture,
            len(spec.bands),
            stem_stride=spec.stem_stride,
            drop_path_rate=spec.drop_path_rate,
            stage_widths=spec.stage_widths,
            hidden_widths=spec.hidden_widths,
        )
        self._set_head()

    def _set_head(self) -> None:
        info = self.feature_info
        self.head = build_head(self.spec, info.channels(), info.reduction())

    @property
    def bands(self) -> tuple[Channel, ...]:
        """What each input channel of the network measures, in its own order."""
        return self.spec.bands

    @property
    def feature_info(self) -> Any:  # noqa: ANN401 - timm ships no types
        """`channels()` and `reduction()` of every level, finest first (timm's `FeatureInfo`)."""
        return self.backbone.feature_info

    @property
    def num_features(self) -> int:
        """Width of the coarsest level."""
        return int(self.feature_info.channels()[-1])

    def forward_features(
        self, x_BCHW: Tensor, bands: Sequence[Channel] | None = None, valid: Tensor | None = None
    ) -> list[Tensor]:
        """Feature pyramid, finest level first; arguments and errors as for `normalize`."""
        return self._pyramid(self.normalize(x_BCHW, bands, valid))

    def forward(
        self, x_BCHW: Tensor, bands: Sequence[Channel] | None = None, valid: Tensor | None = None
    ) -> Tensor:
        """Raw outputs (B, K) or (B, K, H, W), see `TaskNetwork`; arguments as for `normalize`."""
        return self.forward_all(x_BCHW, bands, valid)[1]

    def forward_all(
        self, x_BCHW: Tensor, bands: Sequence[Channel] | None = None, valid: Tensor | None = None
    ) -> tuple[list[Tensor], Tensor]:
        """Feature pyramid and raw outputs of one pass; arguments and errors as for `normalize`."""
        x_BCHW = self.normalize(x_BCHW, bands, valid)
        features = self._pyramid(x_BCHW)
        return features, self.head(features, x_BCHW)

    def _pyramid(self, x_BCHW: Tensor) -> list[Tensor]:
        features: list[Tensor] = self.backbone(
            pad_to_multiple(x_BCHW, self.feature_info.reduction()[-1])
        )
        return features

    def reset_head(
        self,
        classes: Sequence[str],
        *,
        target_mean: Sequence[float] = (),
        target_std: Sequence[float] = (),
    ) -> None:
        """Put on a new head with random weights for other classes or targets; `spec` follows.

        Raises:
            InputError: If the specialist is frozen, or the classes do not fit its task.
        """
        if self._frozen:
            raise InputError(
                "a frozen specialist keeps its head: load its weights again and do not freeze it, "
                "or train a head of your own on its forward_features"
            )
        device = self.band_mean_C11.device
        self.spec = replace(
            self.spec,
            classes=tuple(classes),
            target_mean=tuple(target_mean),
            target_std=tuple(target_std),
        )
        self._register_target_scaling()
        self._set_head()
        self.to(device)
