"""What a network costs: parameters and multiply-adds."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from specialists.model import Specialist


def count_parameters(module: nn.Module) -> int:
    """Number of weights that training changes, frozen or not."""
    return sum(weight.numel() for weight in module.parameters())


def count_macs(specialist: Specialist, size: int | None = None) -> int:
    """Multiply-adds of one forward pass over a single square chip, counted as by `count_call_macs`.

    Nothing is computed: the pass runs on the meta device. What a wavelength-conditioned stem does
    to make its filters is not counted: it does so once for a list of bands.

    Args:
        specialist: On any device; it is left as it is.
        size: Edge of the chip in pixels; without it, that of the training chips.
    """
    size = size or specialist.spec.chip_size
    twin = deepcopy(specialist).eval().to("meta")
    chip_BCHW = torch.empty(1, len(specialist.bands), size, size, device="meta")
    if specialist.spec.takes_any_known:
        with torch.no_grad():
            twin(chip_BCHW)  # keeps its filters
    return count_call_macs(lambda: twin(chip_BCHW))


def count_call_macs(call: Callable[[], object]) -> int:
    """Multiply-adds of what a call runs, on whatever device; it is run once, without gradient.

    Convolutions and matrix products are counted (torch's flop counter, two operations to a
    multiply-add), those inside attention too; element-wise work is not.
    """
    with _open_attention(), FlopCounterMode(display=False) as counter, torch.no_grad():
        call()
    return int(counter.get_total_flops()) // 2


@contextmanager
def _open_attention() -> Iterator[None]:
    """Attention as plain matrix products: the counter sees none in the fused layers of `nn`."""
    had_fast_path = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(had_fast_path)
