"""What a node's AdamW remembers from one round to the next; it never leaves the node.

An optimizer that began anew in every round would make its first steps at full length in the sign of
one batch's gradient, as its mean of squares has seen nothing else: with few steps a round, a common
network does not learn.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.optim import Optimizer

STEP, MEANS = "step", ("exp_avg", "exp_avg_sq")
"""Of AdamW's state: a count, and running means of gradients and of their squares."""


def get_moments(optimizer: Optimizer, network: nn.Module) -> dict[str, NDArray[Any]]:
    """An AdamW's state as arrays, by `<name of the weight>/<name of the entry>`."""
    return {
        f"{name}/{entry}": optimizer.state[weight][entry].detach().cpu().numpy().copy()
        for name, weight in network.named_parameters()
        for entry in (STEP, *MEANS)
        if entry in optimizer.state.get(weight, {})
    }


def set_moments(
    optimizer: Optimizer, network: nn.Module, moments: Mapping[str, NDArray[Any]]
) -> None:
    """Inverse of `get_moments`; weights that it does not name begin anew."""
    learning = {weight for group in optimizer.param_groups for weight in group["params"]}
    for name, weight in network.named_parameters():
        found = {entry: moments.get(f"{name}/{entry}") for entry in (STEP, *MEANS)}
        if weight not in learning or any(array is None for array in found.values()):
            continue
        optimizer.state[weight] = {
            entry: torch.from_numpy(np.array(array)).to("cpu" if entry == STEP else weight.device)
            for entry, array in found.items()
        }
