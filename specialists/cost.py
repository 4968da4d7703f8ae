"""What a specialist costs: parameters and multiply-adds."""

from copy import deepcopy

import torch
from torch.utils.flop_counter import FlopCounterMode

from specialists.model import Specialist


def count_parameters(specialist: Specialist) -> int:
    """Number of weights that training changes, frozen or not."""
    return sum(weight.numel() for weight in specialist.parameters())


def count_macs(specialist: Specialist, size: int | None = None) -> int:
    """Multiply-adds of one forward pass over a single square chip.

    Convolutions and matrix products are counted (torch's flop counter, two operations to a
    multiply-add), element-wise work is not. Nothing is computed: the pass runs on the meta device.

    Args:
        specialist: On any device; it is left as it is.
        size: Edge of the chip in pixels; without it, that of the training chips.
    """
    size = size or specialist.spec.chip_size
    twin = deepcopy(specialist).to("meta")
    chip_BCHW = torch.empty(1, len(specialist.bands), size, size, device="meta")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        twin(chip_BCHW)
    return int(counter.get_total_flops()) // 2
