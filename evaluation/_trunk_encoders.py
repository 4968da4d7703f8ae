"""Trunks as encoders: any bands, and images brought to whole patches.

Tensor shapes: B batch, C given bands, H rows, W columns, D width.
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from evaluation.context import DataContext
from router import Trunk
from router.band_statistics import add_statistics
from router.input_size import fit_to_patches, input_size
from sensors import BandPlan, Channel


class TrunkEncoder(nn.Module):
    """A trunk, and what it needs to take a data set's images.

    Bands whose statistics the trunk does not know get those of the training split: all bands, for
    random and for published weights.

    Args:
        trunk: The trunk.
        context: The training split.
        names: Its bands that the trunk gets, in this order; any that are given if not said.
        image_size: Edge in pixels that images are resized to; if not given, both edges grow to the
            next whole number of patches.

    Raises:
        InputError: If a name is not among the bands, or `image_size` is not made of whole patches.
    """

    def __init__(
        self,
        trunk: Trunk,
        context: DataContext,
        names: list[str] | None = None,
        image_size: int | None = None,
    ) -> None:
        super().__init__()
        positions = context.positions(names)
        if image_size is not None:
            trunk.patch_embed.grid(image_size, image_size)
        spec = add_statistics(trunk.spec, context.bands, context.mean, context.std)
        trunk.set_statistics(spec.bands, spec.mean, spec.std)
        self.trunk = trunk
        self.known = tuple(context.bands[k] for k in positions)
        self.bands = None if names is None else self.known
        self.image_size = image_size

    @property
    def feature_info(self) -> Any:  # noqa: ANN401 - timm ships no types
        """`channels()` and `reduction()` of every level."""
        return self.trunk.feature_info

    @property
    def num_features(self) -> int:
        """Width of every level and of `embed`."""
        return self.trunk.num_features

    def input_size(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of an image as the trunk gets it."""
        return input_size(height, width, self.trunk.spec.patch_size, self.image_size)

    def forward_features(
        self, x_BCHW: Tensor, bands: Sequence[Channel] | None = None, valid: Tensor | None = None
    ) -> list[Tensor]:
        """Levels (B, D, H / r_i, W / r_i) of the resized image, finest first."""
        return self.trunk.forward_features(*self._prepare(x_BCHW, bands, valid))

    def embed(
        self, x_BCHW: Tensor, bands: Sequence[Channel] | None = None, valid: Tensor | None = None
    ) -> Tensor:
        """The trunk's own vector (B, D) of an image."""
        return self.trunk.embed(*self._prepare(x_BCHW, bands, valid))

    def _prepare(
        self, x_BCHW: Tensor, bands: Sequence[Channel] | None, valid: Tensor | None
    ) -> tuple[Tensor, tuple[Channel, ...], Tensor]:
        given = self.known if bands is None else tuple(bands)
        if self.bands is not None:
            plan = BandPlan.match(self.bands, given).require()
            x_BCHW, given = plan.apply(x_BCHW), plan.wanted
            valid = None if valid is None else plan.apply_valid(valid)
        fitted = fit_to_patches(x_BCHW, valid, self.trunk.spec.patch_size, self.image_size)
        return fitted[0], given, fitted[1]
