"""What every network for a task has in common: scalings of bands and targets, and being frozen.

Tensor shapes: B batch, C channels, H rows, W columns, K outputs.
"""

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor, nn

from sensors.bands import Channel
from sensors.errors import InputError
from sensors.plan import BandPlan
from specialists.task_spec import TaskSpec


class TaskNetwork(nn.Module):
    """A network for one task; a subclass says how it computes.

    Args:
        spec: The task.
    """

    band_mean_C11: Tensor
    band_std_C11: Tensor
    target_mean_K: Tensor
    target_std_K: Tensor

    def __init__(self, spec: TaskSpec) -> None:
        super().__init__()
        self.spec = spec
        self._frozen = False
        # Scalings belong to the spec, so weight files do not hold them a second time. They name
        # their device because a network that is about to be filled from a file is built on the meta
        # device.
        self._register_scaling(
            "band_mean_C11", torch.tensor(spec.mean, device="cpu")[:, None, None]
        )
        self._register_scaling("band_std_C11", torch.tensor(spec.std, device="cpu")[:, None, None])
        self._register_target_scaling()

    def _register_scaling(self, name: str, values: Tensor) -> None:
        self.register_buffer(name, values, persistent=False)

    def _register_target_scaling(self) -> None:
        self._register_scaling("target_mean_K", torch.tensor(self.spec.target_mean, device="cpu"))
        self._register_scaling("target_std_K", torch.tensor(self.spec.target_std, device="cpu"))

    @property
    def is_frozen(self) -> bool:
        """Whether `freeze` was called."""
        return self._frozen

    def normalize(
        self, x_BCHW: Tensor, bands: Sequence[Channel] | None = None, valid: Tensor | None = None
    ) -> Tensor:
        """The task's own bands, with mean 0 and standard deviation 1 over the training data.

        Args:
            x_BCHW: Physical pixels.
            bands: What each channel of `x_BCHW` measures; without it, they are `spec.bands` in this
                order.
            valid: True where a pixel was measured, shape of `x_BCHW`. All others, and non-finite
                ones, become 0, the mean of their band.

        Returns:
            (B, len(spec.bands), H, W).

        Raises:
            InputError: If shapes do not fit together; `MissingBandsError` if one of these
                bands is not given.
        """
        wanted = self.spec.bands
        given = wanted if bands is None else tuple(bands)
        check_shapes(x_BCHW, given, valid)
        x_BCHW = x_BCHW.to(self.band_mean_C11.dtype)
        if bands is not None:
            plan = BandPlan.match(wanted, given).require()
            x_BCHW = plan.apply(x_BCHW)
            valid = None if valid is None else plan.apply_valid(valid)
        return scale_pixels(x_BCHW, self.band_mean_C11, self.band_std_C11, valid)

    def forward(
        self, x_BCHW: Tensor, bands: Sequence[Channel] | None = None, valid: Tensor | None = None
    ) -> Tensor:
        """Raw outputs of the head; arguments and errors as for `normalize`.

        They are logits, for regression `(target - target_mean) / target_std`, for similarity
        search the image's vector.

        Returns:
            (B, K), or (B, K, H, W) for per-pixel tasks.
        """
        raise NotImplementedError

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
        return self.interpret(self.forward(x_BCHW, bands, valid))

    def interpret(self, outputs: Tensor) -> Tensor:
        """From raw outputs, as `forward` gives them, to what `predict` gives."""
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
        """Set training mode, unless frozen: a frozen network stays in evaluation mode."""
        return super().train(mode and not self._frozen)


def scale_pixels(x_BCHW: Tensor, mean_C11: Tensor, std_C11: Tensor, valid: Tensor | None) -> Tensor:
    """Pixels with mean 0 and standard deviation 1; 0 where they are not valid or not finite."""
    x_BCHW = (x_BCHW - mean_C11) / std_C11
    usable = x_BCHW.isfinite() if valid is None else x_BCHW.isfinite() & valid
    return torch.where(usable, x_BCHW, 0)


def check_shapes(x_BCHW: Tensor, bands: Sequence[Channel], valid: Tensor | None) -> None:
    """Refuse an image batch whose shape is not that of its bands and its validity.

    Raises:
        InputError: Says what differs.
    """
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
