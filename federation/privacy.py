"""Differential privacy: Flower's mechanisms, and what they have spent.

- `central-fixed`: updates are clipped, and noise is added to their mean (arXiv 1710.06963). Epsilon
  is about whether a node took part at all, and holds against everyone who sees the results.
- `central-adaptive`: the same, with a clipping norm that follows the updates (arXiv 1905.03871).
- `local`: every node clips its own update and adds noise to it. Epsilon is about what the node's
  data are, and holds against the server, too.

Rounds are composed by Renyi differential privacy (arXiv 1702.07476), in Flower's accountant over
Google's `dp-accounting`, without amplification by sampling. Scores and losses that nodes send are
not protected.
"""

import math
from collections.abc import Mapping
from typing import Any

from flwr.serverapp.strategy import (
    DifferentialPrivacyClientSideAdaptiveClipping,
    DifferentialPrivacyClientSideFixedClipping,
    DifferentialPrivacyServerSideAdaptiveClipping,
    DifferentialPrivacyServerSideFixedClipping,
    Strategy,
)
from flwr.supercore.privacy_accounting import (
    GaussianPrivacyEvent,
    NeighboringRelation,
    PrivacyConfig,
    SamplingMethod,
)
from flwr.supercore.privacy_accounting.rdp_accountant import RdpAccountant

from federation.settings import Settings

_WRAPPERS: dict[tuple[str, str], Any] = {
    ("central-fixed", "server"): DifferentialPrivacyServerSideFixedClipping,
    ("central-fixed", "client"): DifferentialPrivacyClientSideFixedClipping,
    ("central-adaptive", "server"): DifferentialPrivacyServerSideAdaptiveClipping,
    ("central-adaptive", "client"): DifferentialPrivacyClientSideAdaptiveClipping,
}


def wrap(strategy: Strategy, settings: Settings, nodes: int) -> Strategy:
    """The strategy with central privacy around it, if the run asks for that."""
    if not settings.is_central:
        return strategy
    make = _WRAPPERS[settings.privacy, settings.clipping]
    sampled = sampled_nodes(settings, nodes)
    if settings.privacy == "central-fixed":
        wrapped: Strategy = make(
            strategy, settings.noise_multiplier, settings.clipping_norm, sampled
        )
        return wrapped
    adaptive: Strategy = make(
        strategy,
        settings.noise_multiplier,
        sampled,
        initial_clipping_norm=settings.clipping_norm,
    )
    return adaptive


def sampled_nodes(settings: Settings, nodes: int) -> int:
    """How many nodes Flower's FedAvg asks in a round."""
    return max(int(nodes * settings.fraction), settings.min_nodes)


class Ledger:
    """What the rounds of a run have spent.

    Args:
        settings: Of the run.
        nodes: How many take part.
    """

    def __init__(self, settings: Settings, nodes: int) -> None:
        self.settings = settings
        local = settings.privacy == "local"
        self.event = GaussianPrivacyEvent(
            noise_multiplier=local_multiplier(settings) if local else settings.noise_multiplier,
            sample_size=1 if local else sampled_nodes(settings, nodes),
            population_size=1 if local else nodes,
        )
        self.accountant = RdpAccountant(
            PrivacyConfig(
                target_delta=settings.delta,
                population_size=self.event.population_size,
                neighboring_relation=NeighboringRelation.ADD_OR_REMOVE_ONE,
                sampling_method=SamplingMethod.NO_AMPLIFICATION,
                max_epsilon=settings.max_epsilon or None,
            )
        )

    def add_round(self) -> float:
        """Account for a round whose result was used; gives the epsilon spent so far."""
        self.accountant.compose(self.event)
        return self.spent

    @property
    def spent(self) -> float:
        """Epsilon so far, at the run's delta."""
        return self.accountant.get_privacy_spent().epsilon

    @property
    def is_exhausted(self) -> bool:
        """Whether another round would exceed the limit."""
        return bool(self.settings.max_epsilon) and self.accountant.would_exceed(self.event)

    def describe(self) -> dict[str, Any]:
        """What a card says of it."""
        spent = self.accountant.get_privacy_spent()
        found = {
            "mechanism": self.settings.privacy,
            "clipping": self.settings.clipping,
            "clipping_norm": self.settings.clipping_norm,
            "noise_multiplier": self.event.noise_multiplier,
            "epsilon": spent.epsilon,
            "delta": spent.delta,
            "releases": spent.num_releases,
            "accounting": spent.accounting_method,
        }
        if self.settings.privacy == "local":
            found["clipping"] = "client"
        return found

    def state(self) -> Mapping[str, Any]:
        """Plain data, for `restore`."""
        return self.accountant.state_dict()

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from `state`."""
        self.accountant.load_state_dict(dict(state))


def local_multiplier(settings: Settings) -> float:
    """Noise of Flower's `LocalDpMod` per sensitivity (Dwork and Roth 2014, theorem A.1)."""
    return math.sqrt(2 * math.log(1.25 / settings.delta)) / settings.epsilon
