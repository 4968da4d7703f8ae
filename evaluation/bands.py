"""Images as an encoder wants them.

Shapes: `...` any leading axes, C given channels, K wanted channels, H and W pixels.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from rasters.sensing import Stack
from sensors import BandPlan, Channel


def missing(wanted: Sequence[Channel], given: Sequence[Channel]) -> tuple[Channel, ...]:
    """The wanted channels that no given one serves, in the order of `wanted`."""
    return tuple(band.wanted for band in BandPlan.match(wanted, given).missing)


def served(wanted: Sequence[Channel], given: Sequence[Channel]) -> tuple[Channel, ...]:
    """The wanted channels that the given ones serve, in the order of `wanted`."""
    return tuple(match.wanted for match in BandPlan.match(wanted, given).matches)


def serve(x: Tensor, given: Sequence[Channel], valid: Tensor, wanted: Sequence[Channel]) -> Stack:
    """All wanted channels: served by the given ones where possible, else there but invalid.

    Args:
        x: `(..., C, H, W)`, physical.
        given: What its C channels measure.
        valid: bool, shape of `x`.
        wanted: The K channels to produce.

    Returns:
        Pixels `(..., K, H, W)`, `wanted`, and their validity; channels of `missing(wanted, given)`
        are 0 and nowhere valid.

    Raises:
        MissingBandsError: If none of the wanted channels can be served.
    """
    plan = BandPlan.match(wanted, given)
    if plan.is_applicable:
        return plan.apply(x), plan.wanted, plan.apply_valid(valid)
    if not plan.matches:
        plan.require()
    own = served(wanted, given)
    part = BandPlan.match(own, given)
    rows = [plan.wanted.index(band) for band in own]
    shape = (*x.shape[:-3], len(plan.wanted), *x.shape[-2:])
    pixels, is_valid = x.new_zeros(shape), torch.zeros(shape, dtype=torch.bool, device=x.device)
    pixels[..., rows, :, :] = part.apply(x)
    is_valid[..., rows, :, :] = part.apply_valid(valid)
    return pixels, plan.wanted, is_valid
