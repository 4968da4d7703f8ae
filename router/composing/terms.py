"""What is added to the loss of a task so that the gate keeps its members in use.

Shape suffixes: B batch, M members.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from router.gate import Gate, Routing


@contextmanager
def watch_gate(gate: Gate) -> Iterator[list[Routing]]:
    """Everything that a gate decides within the block, in order."""
    decided: list[Routing] = []
    handle = gate.register_forward_hook(lambda _, __, routing: decided.append(routing))
    try:
        yield decided
    finally:
        handle.remove()


def load_balance(routing: Routing) -> Tensor:
    """How unevenly members are used: 1 where all are used alike, more otherwise.

    Switch Transformer (arXiv 2101.03961, equations 4 to 6): the sum of f_i P_i over members, times
    their number, where P_i is the mean probability of member i, and f_i the share of images that
    went to it; here its mean weight, which is the same where one member runs for an image. In place
    of times the number of members, each product is divided by the member's fair share: the mean
    over images of 1 / n where it is one of n that can run, and 0 where it is not. That is 1 / M
    where all can.

    Returns:
        Scalar; 0 where no image has a member that can run.
    """
    can_BM = routing.applicable_BM.to(routing.probabilities_BM.dtype)
    some_B = can_BM.any(1)
    if not bool(some_B.any()):
        return routing.probabilities_BM.sum() * 0
    can_BM = can_BM[some_B]
    fair_M = (can_BM / can_BM.sum(1, keepdim=True)).mean(0)
    taken_M = routing.weights_BM[some_B].detach().mean(0)
    likely_M = routing.probabilities_BM[some_B].mean(0)
    return (taken_M * likely_M / fair_M.clamp_min(torch.finfo(fair_M.dtype).tiny)).sum()


def mean_entropy(routing: Routing) -> Tensor:
    """Mean entropy of the probabilities of an image's members, in nats; a scalar."""
    return _entropy(routing.probabilities_BM).mean()


def information(routing: Routing) -> Tensor:
    """What an image tells the gate: the mutual information of image and member, in nats; a scalar.

    0 where all images are sent the same way: the entropy of the mean probabilities less the mean
    entropy, over images for which some member can run.
    """
    likely_BM = routing.probabilities_BM[routing.applicable_BM.any(1)]
    if not len(likely_BM):
        return routing.probabilities_BM.sum() * 0
    return _entropy(likely_BM.mean(0)) - _entropy(likely_BM).mean()


def _entropy(likely_M: Tensor) -> Tensor:
    """Entropy over the last axis, in nats."""
    # Those that cannot run have probability 0, where the logarithm has no gradient.
    likely_M = likely_M.where(likely_M > 0, 1.0)
    return -(likely_M * likely_M.log()).sum(-1)
