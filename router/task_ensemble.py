"""An ensemble with the head of a task.

Tensor shapes: B batch, C given bands, K the task's bands, H rows, W columns, O outputs.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from router.ensemble import Ensemble
from sensors.bands import Channel
from sensors.plan import BandPlan
from specialists.heads import build_head, looks_at_image
from specialists.network import TaskNetwork, check_shapes
from specialists.task_spec import TaskSpec


class TaskEnsemble(TaskNetwork):
    """An ensemble that answers a task: a map, a class, a value.

    It takes any bands that one of the members, or the trunk, can use. A head that looks at the
    image beside the features sees those of its own bands that are there, and the others' mean.

    Args:
        ensemble: What the head reads.
        task: The task; the head's weights are random.
    """

    def __init__(self, ensemble: Ensemble, task: TaskSpec) -> None:
        super().__init__(task)
        self.ensemble = ensemble
        info = ensemble.feature_info
        self.head = build_head(task, info.channels(), info.reduction())

    @property
    def bands(self) -> None:
        """None: it takes any."""

    @property
    def feature_info(self) -> Any:  # noqa: ANN401 - timm ships no types
        """`channels()` and `reduction()` of every fused level, finest first."""
        return self.ensemble.feature_info

    @property
    def num_features(self) -> int:
        """Width of the coarsest level."""
        return self.ensemble.num_features

    def forward_features(
        self, x_BCHW: Tensor, bands: Sequence[Channel] | None = None, valid: Tensor | None = None
    ) -> list[Tensor]:
        """The ensemble's fused pyramid; arguments and errors as for `forward`."""
        given = self.spec.bands if bands is None else tuple(bands)
        return self.ensemble.forward_features(x_BCHW, given, valid, self.spec.gsd)

    def forward(
        self, x_BCHW: Tensor, bands: Sequence[Channel] | None = None, valid: Tensor | None = None
    ) -> Tensor:
        """Raw outputs (B, O) or (B, O, H, W), see `TaskNetwork`.

        Args:
            x_BCHW: Physical pixels.
            bands: What each channel measures; without it, they are `spec.bands` in this order.
            valid: True where a pixel was measured, shape of `x_BCHW`.

        Raises:
            InputError: If shapes do not fit together, or no member can run and there is no trunk.
        """
        given = self.spec.bands if bands is None else tuple(bands)
        features = self.forward_features(x_BCHW, given, valid)
        image = self._image(x_BCHW, given, valid) if looks_at_image(self.spec) else x_BCHW
        outputs: Tensor = self.head(features, image)
        return outputs

    def _image(self, x_BCHW: Tensor, given: tuple[Channel, ...], valid: Tensor | None) -> Tensor:
        """The task's bands, normalised; 0, the mean, where one is not given."""
        plan = BandPlan.match(self.spec.bands, given)
        if plan.is_applicable:
            return self.normalize(x_BCHW, given, valid)
        check_shapes(x_BCHW, given, valid)
        missing = {entry.wanted for entry in plan.missing}
        there = [k for k, band in enumerate(self.spec.bands) if band not in missing]
        shape = (len(x_BCHW), len(self.spec.bands), *x_BCHW.shape[-2:])
        image_BKHW = torch.zeros(shape, dtype=self.band_mean_C11.dtype, device=x_BCHW.device)
        if not there:
            return image_BKHW
        part = BandPlan.match([self.spec.bands[k] for k in there], given)
        values = (part.apply(x_BCHW) - self.band_mean_C11[there]) / self.band_std_C11[there]
        usable = values.isfinite()
        if valid is not None:
            usable &= part.apply_valid(valid)
        image_BKHW[:, there] = torch.where(usable, values, 0).to(image_BKHW.dtype)
        return image_BKHW
