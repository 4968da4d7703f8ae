"""A specialist: a small ConvNeXtV2 that knows its bands, with the head of its task.

Tensor shapes: B batch, C channels, H rows, W columns, K outputs.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from sensors.bands import Channel
from sensors.choice import BandChoice
from sensors.errors import InputError
from specialists.backbone import build_backbone, pad_to_multiple
from specialists.heads import build_head, looks_at_image
from specialists.network import TaskNetwork, check_shapes, scale_pixels
from specialists.spec import SpecialistSpec
from specialists.stem import MixingHead, build_stem


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

    With `spec.stem="wavelength"`, it takes any stack in which a band is like one of `spec.bands`,
    as `BandChoice` decides. Such bands are scaled by the mean and standard deviation of those that
    they are like, and enter by what they measure themselves; others are left out.

    Args:
        spec: What to build; weights are random.
    """

    spec: SpecialistSpec

    def __init__(self, spec: SpecialistSpec) -> None:
        super().__init__(spec)
        self.backbone = build_backbone(
            spec.architecture,
            None if spec.takes_any_known else len(spec.bands),
            stem_stride=spec.stem_stride,
            drop_path_rate=spec.drop_path_rate,
            stage_widths=spec.stage_widths,
            hidden_widths=spec.hidden_widths,
        )
        if spec.takes_any_known:
            self.stem = build_stem(self.feature_info.channels()[0], spec.stem_stride)
        self._set_head()

    def _set_head(self) -> None:
        info, mixes = self.feature_info, self.spec.takes_any_known and looks_at_image(self.spec)
        build = MixingHead if mixes else build_head
        self.head = build(self.spec, info.channels(), info.reduction())

    @property
    def bands(self) -> tuple[Channel, ...]:
        """What each input channel of the network measures, in its own order.

        With a wavelength-conditioned stem: the bands that it knows.
        """
        return self.spec.bands

    @property
    def feature_info(self) -> Any:  # noqa: ANN401 - timm ships no types
        """`channels()` and `reduction()` of every level, finest first (timm's `FeatureInfo`)."""
        return self.backbone.feature_info

    @property
    def num_features(self) -> int:
        """Width of the coarsest level."""
        return int(self.feature_info.channels()[-1])

    def normalize(
        self, x_BCHW: Tensor, bands: Sequence[Channel] | None = None, valid: Tensor | None = None
    ) -> Tensor:
        """The specialist's own bands as `TaskNetwork.normalize` gives them.

        With a wavelength-conditioned stem: those of the given bands that are like a known one, in
        the order given; `MissingBandsError` if there is none.
        """
        return self._take(x_BCHW, bands, valid)[0]

    def _take(
        self, x_BCHW: Tensor, bands: Sequence[Channel] | None, valid: Tensor | None
    ) -> tuple[Tensor, tuple[Channel, ...]]:
        """What `normalize` gives, and what its channels measure."""
        if bands is None or not self.spec.takes_any_known:
            return super().normalize(x_BCHW, bands, valid), self.spec.bands
        check_shapes(x_BCHW, bands, valid)
        choice = BandChoice.match(self.spec.bands, bands).require()
        x_BCHW = choice.apply(x_BCHW.to(self.band_mean_C11.dtype))
        mean_C11, std_C11 = map(choice.look_up, (self.band_mean_C11, self.band_std_C11))
        valid = None if valid is None else choice.apply(valid)
        return scale_pixels(x_BCHW, mean_C11, std_C11, valid), choice.bands

    def forward_features(
        self, x_BCHW: Tensor, bands: Sequence[Channel] | None = None, valid: Tensor | None = None
    ) -> list[Tensor]:
        """Feature pyramid, finest level first; arguments and errors as for `normalize`."""
        return self.pyramid(*self._take(x_BCHW, bands, valid))

    def forward(
        self, x_BCHW: Tensor, bands: Sequence[Channel] | None = None, valid: Tensor | None = None
    ) -> Tensor:
        """Raw outputs (B, K) or (B, K, H, W), see `TaskNetwork`; arguments as for `normalize`."""
        return self.forward_all(x_BCHW, bands, valid)[1]

    def forward_all(
        self, x_BCHW: Tensor, bands: Sequence[Channel] | None = None, valid: Tensor | None = None
    ) -> tuple[list[Tensor], Tensor]:
        """Feature pyramid and raw outputs of one pass; arguments and errors as for `normalize`."""
        x_BCHW, taken = self._take(x_BCHW, bands, valid)
        features = self.pyramid(x_BCHW, taken)
        seen = (x_BCHW, taken) if isinstance(self.head, MixingHead) else (x_BCHW,)
        return features, self.head(features, *seen)

    def pyramid(self, x_BCHW: Tensor, bands: Sequence[Channel] | None = None) -> list[Tensor]:
        """Feature pyramid of what `normalize` gave.

        Args:
            x_BCHW: Normalised pixels.
            bands: What they measure; without it, they are `spec.bands` in this order.
        """
        x_BCHW = pad_to_multiple(x_BCHW, self.feature_info.reduction()[-1])
        if self.spec.takes_any_known:
            x_BCHW = self.stem(x_BCHW, self.spec.bands if bands is None else bands)
        features: list[Tensor] = self.backbone(x_BCHW)
        return features

    def for_bands(
        self, bands: Sequence[Channel], mean: Sequence[float], std: Sequence[float]
    ) -> "Specialist":
        """This network, every weight of it the same object, for other bands or other statistics.

        What is learned through one is learned by both. So those who hold images of different
        sensors, or of places where the same sensor sees something else, can scale their own pixels
        by their own statistics. Training mode and device are shared, too.

        Args:
            bands: What the new one knows; with a fixed stem, those of this one.
            mean: Per band, in physical units.
            std: Standard deviation per band.

        Raises:
            InputError: If the bands are others and the stem is fixed, or the spec refuses a value.
        """
        bands = tuple(bands)
        if bands != self.spec.bands and not self.spec.takes_any_known:
            given, own = (
                ", ".join(band.describe() for band in part) for part in (bands, self.bands)
            )
            raise InputError(
                f"the bands {given} are not those of this specialist, {own}, and its stem has "
                "filters for no others; name its own in this order, or train one with "
                "specialist.stem=wavelength"
            )
        spec = replace(self.spec, bands=bands, mean=tuple(mean), std=tuple(std))
        with torch.device("meta"):
            twin = Specialist(spec)
        for name, module in self.named_children():
            setattr(twin, name, module)
        twin._frozen = self._frozen
        return twin.to(self.band_mean_C11.device).train(self.training)

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
