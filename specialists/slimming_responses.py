"""How loud the hidden channels of a block are, to make up for those that are taken out.

A response norm (ConvNeXt V2, section 3.3) scales a channel by its norm over the mean of all norms.
If channels go, that mean changes by what is known here, and the weight of the norm is multiplied by
as much. What the channels that go have said on average becomes part of the bias after them.

Shape suffixes: B batch, C channels of a hidden layer.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from specialists.backbone import list_mlps
from specialists.model import Specialist


@dataclass(frozen=True)
class Response:
    """The hidden channels of one block, over images.

    Args:
        mean_C: What the response norm gives, on average.
        share_C: Share of each channel in the sum of all norms, on average; None if the channels
            that go are taken for silent, whichever they are.
    """

    mean_C: Tensor
    share_C: Tensor | None = None

    def correction(self, kept: Sequence[int]) -> float:
        """What the weight of the norm is multiplied by if nothing but these channels stays."""
        share = 1.0 if self.share_C is None else float(self.share_C[kept].sum())
        return share * len(self.mean_C) / len(kept)


def assume_silent(mlp: Any) -> Response:  # noqa: ANN401 - timm ships no types
    """The response of channels that are 0 everywhere: the norm adds its bias to nothing."""
    return Response(mlp.grn.bias.detach().clone())


@torch.no_grad()
def measure_responses(
    specialist: Specialist, batches: Iterable[Mapping[str, Tensor]]
) -> list[Response]:
    """The responses of every block, from the first to the last.

    Args:
        specialist: In evaluation mode.
        batches: At least one, with `image` and perhaps `valid`.
    """
    mlps, device = list_mlps(specialist.backbone), specialist.band_mean_C11.device
    sums: list[Tensor] = [torch.zeros(2, len(mlp.grn.weight), device=device) for mlp in mlps]
    images = 0
    hooks = [
        mlp.grn.register_forward_hook(_count(total)) for mlp, total in zip(mlps, sums, strict=True)
    ]
    try:
        for batch in batches:
            valid = batch["valid"].to(device) if "valid" in batch else None
            specialist(batch["image"].to(device), valid=valid)
            images += len(batch["image"])
    finally:
        for hook in hooks:
            hook.remove()
    return [Response(*(total / images)) for total in sums]


def _count(total_2C: Tensor) -> Callable[[Any, tuple[Tensor], Tensor], None]:
    """A hook that adds mean output and share of the norms of every image of a batch."""

    def hook(norm: Any, inputs: tuple[Tensor], output: Tensor) -> None:  # noqa: ANN401
        length_BC = inputs[0].float().pow(2).sum(norm.spatial_dim).sqrt()
        whole_B1 = length_BC.sum(1, keepdim=True)
        share_BC = torch.where(whole_B1 > 0, length_BC / whole_B1, 1 / length_BC.shape[1])
        total_2C[0] += output.float().mean(norm.spatial_dim).sum(0)
        total_2C[1] += share_BC.sum(0)

    return hook
