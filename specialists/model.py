"""A specialist: a small ConvNeXtV2 that knows its bands, with the head of its task.

Tensor shapes: B batch, C channels, H rows, W columns, K outputs.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Self

import torch
from torch import Tensor, nn

from sensors.bands import Channel
from sensors.errors import InputError
from sensors.plan import BandPlan
from specialists.backbone import build_backbone, pad_to_multiple
from specialists.heads import build_head
from specialists.spec import SpecialistSpec


def build_specialist(spec: SpecialistSpec) -> "Specialist":
    """A specialist with random weights; everything it can be made of is in a closed table."""
    return Specialist(spec)


class Specialist(nn.Module):
    """A network for one task on one set of bands.

    It keeps the contract of every feature network here: `forward_features` gives a list of (B, C_i,
    H / r_i, W / r_i), finest first, `feature_info.channels()` and `feature_info.reduction()` give
    C_i and r_i, `num_features` is the width of the coarsest level. Images of any size from 1 x 1
    pixel on are taken: they are padded inside to a multiple of the coarsest reduction, and H and W
    above are those of the padded image.

    Args:
        spec: What to build; weights are random.
    """

    band_mean_C11: Tensor
    band_std_C11: Tensor
    target_mean_K: Tensor
    target_std_K: Tensor

    def __init__(self, spec: SpecialistSpec) -> None:
        super().__init__()
        self.spec = spec
        self.backbone = build_backbone(
            spec.architecture,
            len(spec.bands),
            stem_stride=spec.stem_stride,
            drop_path_rate=spec.drop_path_rate,
        )
        self._frozen = False
        # Scalings belong to the spec, so weight files do not hold them a second time. They name
        # their device because a specialist that is about to be filled from a file is built on the
        # meta device.
        self._register_scaling(
            "band_mean_C11", torch.tensor(spec.mean, device="cpu")[:, None, None]
        )
        self._register_scaling("band_std_C11", torch.tensor(spec.std, device="cpu")[:, None, None])
        self._set_head(spec)

    def _register_scaling(self, name: str, values: Tensor) -> None:
        self.register_buffer(name, values, persistent=False)

    def _set_head(self, spec: SpecialistSpec) -> None:
        self.spec = spec
        self.head = build_head(spec, self.feature_info.channels(), self.feature_info.reduction())
        self._register_scaling("target_mean_K", torch.tensor(spec.target_mean, device="cpu"))
        self._register_scaling("target_std_K", torch.tensor(spec.target_std, device="cpu"))

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

    @property
    def is_frozen(self) -> bool:
        """Whether `freeze` was called."""
        return self._frozen

    def normalize(
        self, x_BCHW: Tensor, bands: Sequence[Channel] | None = None, valid: Tensor | None = None
    ) -> Tensor:
        """The network's own bands, with mean 0 and standard deviation 1 over the training data.

        Args:
            x_BCHW: Physical pixels.
            bands: What each channel of `x_BCHW` measures; without it, they are `self.bands` in this
                order.
            valid: True where a pixel was measured, shape of `x_BCHW`. All others, and non-finite
                ones, become 0, the mean of their band.

        Returns:
            (B, len(self.bands), H, W).

        Raises:
            InputError: If shapes do not fit together; `MissingBandsError` if a band of this
                specialist is not given.
        """
        given = self.bands if bands is None else tuple(bands)
        _check_shapes(x_BCHW, given, valid)
        x_BCHW = x_BCHW.to(self.band_mean_C11.dtype)
        if bands is not None:
            plan = BandPlan.match(self.bands, given).require()
            x_BCHW = plan.apply(x_BCHW)
            valid = None if valid is None else plan.apply_valid(valid)
        x_BCHW = (x_BCHW - self.band_mean_C11) / self.band_std_C11
        usable = x_BCHW.isfinite() if valid is None else x_BCHW.isfinite() & valid
        return torch.where(usable, x_BCHW, 0)

    def forward_features(
        self, x_BCHW: Tensor, bands: Sequence[Channel] | None = None, valid: Tensor | None = None
    ) -> list[Tensor]:
        """Feature pyramid, finest level first; arguments and errors as for `normalize`."""
        return self._pyramid(self.normalize(x_BCHW, bands, valid))

    def forward(
        self, x_BCHW: Tensor, bands: Sequence[Channel] | None = None, valid: Tensor | None = None
    ) -> Tensor:
        """Raw outputs of the head; arguments and errors as for `normalize`.

        They are logits, for regression `(target - target_mean) / target_std`, for similarity
        search the image's vector.

        Returns:
            (B, K), or (B, K, H, W) for per-pixel tasks.
        """
        x_BCHW = self.normalize(x_BCHW, bands, valid)
        outputs: Tensor = self.head(self._pyramid(x_BCHW), x_BCHW)
        return outputs

    def _pyramid(self, x_BCHW: Tensor) -> list[Tensor]:
        features: list[Tensor] = self.backbone(
            pad_to_multiple(x_BCHW, self.feature_info.reduction()[-1])
        )
        return features

    @torch.no_grad()
    def predict(
        self, x_BCHW: Tensor, bands: Sequence[Channel] | None = None, valid: Tensor | None = None
    ) -> Tensor:
        """Probabilities, or values in the targets' physical units, without gradient.

        The module's mode is left as it is: call `eval()` or `freeze()` first, as for any network.
        Arguments and errors as for `normalize`.

        Returns:
            (B, K), or (B, K, H, W) for per-pixel tasks: softmax over the classes, sigmoid if
            multi-label, or values; for similarity search the image's vector.
        """
        outputs = self.forward(x_BCHW, bands, valid)
        if self.spec.task == "similarity-search":
            return outputs
        if self.spec.task == "regression":
            targets_last = outputs.movedim(1, -1) * self.target_std_K + self.target_mean_K
            return targets_last.movedim(-1, 1)
        return outputs.sigmoid() if self.spec.multi_label else outputs.softmax(dim=1)

    def freeze(self) -> Self:
        """No gradient and evaluation mode from now on, whatever mode a parent module is set to."""
        self._frozen = True
        self.requires_grad_(False)
        return self.eval()

    def train(self, mode: bool = True) -> Self:
        """Set training mode, unless frozen: a frozen specialist stays in evaluation mode."""
        return super().train(mode and not self._frozen)

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
        self._set_head(
            replace(
                self.spec,
                classes=tuple(classes),
                target_mean=tuple(target_mean),
                target_std=tuple(target_std),
            )
        )
        self.to(device)


def _check_shapes(x_BCHW: Tensor, bands: tuple[Channel, ...], valid: Tensor | None) -> None:
    if x_BCHW.ndim != 4 or 0 in x_BCHW.shape[-2:]:
        raise InputError(
            f"expected an image batch of shape (B, C, H, W), got {tuple(x_BCHW.shape)}"
        )
    if x_BCHW.shape[1] != len(bands):
        names = ", ".join(band.name for band in bands)
        raise InputError(f"got {x_BCHW.shape[1]} channels for {len(bands)} bands ({names})")
    if valid is not None and (valid.shape != x_BCHW.shape or valid.dtype != torch.bool):
        raise InputError(
            f"valid is {valid.dtype} of shape {tuple(valid.shape)}, "
            f"expected torch.bool of the image's shape {tuple(x_BCHW.shape)}"
        )
