"""Flower's strategies, by the names that a run-config has for them, and their state as arrays."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, Message, MetricRecord
from flwr.serverapp.strategy import (
    FedAdam,
    FedAvg,
    FedMedian,
    FedProx,
    FedTrimmedAvg,
    Krum,
    MultiKrum,
    Strategy,
)
from flwr.serverapp.strategy.fedopt import FedOpt

from federation.privacy import wrap
from federation.settings import Settings
from federation.task import Arrays
from sensors.errors import InputError

_MOMENTS = ("m_t", "v_t")


class AllButFarthest(MultiKrum):
    """Multi-Krum (arXiv 1703.02757) that leaves out as many updates as it withstands.

    The mean of all others learns nearly as fast as that of all. Flower selects a fixed number,
    which would take in every update of a round in which a node is missing.
    """

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """The mean of the updates that are nearest to others."""
        answers = list(replies)
        self.num_nodes_to_select = max(1, len(answers) - self.num_malicious_nodes)
        return super().aggregate_train(server_round, answers)


def build_strategy(settings: Settings, nodes: int) -> Strategy:
    """The strategy of a run, with privacy where that is asked for.

    Args:
        settings: Of the run.
        nodes: How many take part.

    Raises:
        InputError: If so many nodes are too few for it.
    """
    common: dict[str, Any] = {
        "fraction_train": settings.fraction,
        "fraction_evaluate": 1.0,
        "min_train_nodes": settings.min_nodes,
        "min_evaluate_nodes": settings.min_nodes,
        "min_available_nodes": settings.min_nodes,
    }
    return wrap(_build(settings, nodes, common), settings, nodes)


def _build(settings: Settings, nodes: int, common: Mapping[str, Any]) -> Strategy:
    if settings.strategy == "fedprox":
        return FedProx(**common, proximal_mu=settings.proximal_mu)
    if settings.strategy == "fedadam":
        return FedAdam(**common, eta=settings.server_lr)
    if settings.strategy == "median":
        return FedMedian(**common)
    if settings.strategy == "trimmed-mean":
        if not settings.trim < 0.5:
            raise InputError(f"run-config trim={settings.trim} leaves nothing: give less than 0.5")
        if int(settings.trim * nodes) < 1:
            raise InputError(
                f"run-config trim={settings.trim} of {nodes} nodes is less than one: nothing would "
                f"be left out; give at least {1 / nodes:.3g}"
            )
        return FedTrimmedAvg(**common, beta=settings.trim)
    if settings.strategy in ("krum", "multi-krum"):
        # arXiv 1703.02757, section 4: n >= 2 f + 3.
        if nodes < 2 * settings.malicious + 3:
            raise InputError(
                f"run-config strategy={settings.strategy} withstands malicious="
                f"{settings.malicious} among at least {2 * settings.malicious + 3} nodes, and "
                f"{nodes} take part"
            )
        kind = Krum if settings.strategy == "krum" else AllButFarthest
        return kind(**common, num_malicious_nodes=settings.malicious)
    return FedAvg(**common)


def get_state(strategy: Strategy) -> dict[str, Arrays]:
    """What a strategy remembers of earlier rounds (FedAdam's moments), by the names of weights."""
    if not isinstance(strategy, FedOpt):
        return {}
    return {name: dict(getattr(strategy, name)) for name in _MOMENTS if getattr(strategy, name)}


def set_state(strategy: Strategy, state: Mapping[str, Mapping[str, Any]]) -> None:
    """Inverse of `get_state`."""
    for name, arrays in state.items():
        setattr(strategy, name, {key: np.asarray(array) for key, array in arrays.items()})
