"""Differential privacy in a run, and what it says of itself."""

import math

import numpy as np
import pytest

from federation.privacy import Ledger, local_multiplier
from federation.settings import Settings
from federation.start import open_network
from registry import Registry
from specialists.spec import SpecialistSpec

PRIVATE = {"privacy": "central-fixed", "normalization": "local"}


def test_epsilon_is_that_of_the_gaussian_mechanism():
    """Against the bound of Renyi composition (arXiv 1702.07476, propositions 1 and 3)."""
    settings = Settings(**PRIVATE, noise_multiplier=2.0, delta=1e-5)
    ledger = Ledger(settings, 5)
    for _ in range(10):
        spent = ledger.add_round()
    orders = np.linspace(1.01, 200, 20_000)
    classic = (10 * orders / (2 * 2.0**2) + math.log(1e5) / (orders - 1)).min()
    assert spent <= classic
    assert spent > 0.8 * classic


def test_more_noise_costs_less():
    spent = [
        Ledger(Settings(**PRIVATE, noise_multiplier=noise), 5).add_round() for noise in (0.5, 1, 4)
    ]
    assert spent == sorted(spent, reverse=True)


def test_local_noise_is_that_of_flower():
    settings = Settings(privacy="local", normalization="local", epsilon=2.0, delta=1e-4)
    ledger = Ledger(settings, 3)
    assert local_multiplier(settings) == pytest.approx(math.sqrt(2 * math.log(1.25e4)) / 2)
    assert 0 < ledger.add_round() <= 2.0
    assert ledger.describe()["clipping"] == "client"


def test_a_ledger_goes_on():
    settings = Settings(**PRIVATE)
    first, second = Ledger(settings, 5), Ledger(settings, 5)
    first.add_round()
    second.restore(first.state())
    assert second.spent == first.spent


@pytest.mark.slow
@pytest.mark.parametrize("clipping", ["server", "client"])
@pytest.mark.parametrize("privacy", ["central-fixed", "central-adaptive"])
def test_clipped_updates_move_the_weights_no_further(make_settings, run, privacy, clipping):
    settings = make_settings(
        privacy=privacy,
        clipping=clipping,
        normalization="local",
        clipping_norm=0.01,
        noise_multiplier=1e-6,
        rounds=1,
    )
    state, _ = run(settings)
    network = open_network(SpecialistSpec.from_dict(state.spec), settings).state_dict()
    moved = math.sqrt(
        sum(
            float(((array - network[name].numpy()) ** 2).sum())
            for name, array in state.common.items()
        )
    )
    assert 0 < moved <= 0.0101
    told = Registry.open(settings.registry).specialist("simulated-federated")
    assert told.training["federation"]["privacy"]["epsilon"] > 0


@pytest.mark.slow
def test_no_round_begins_beyond_the_budget(make_settings, run, flower_log):
    settings = make_settings(
        privacy="central-fixed",
        normalization="local",
        noise_multiplier=2.0,
        max_epsilon=4.5,
        rounds=10,
    )
    state, _ = run(settings)
    assert 0 < len(state.history) < 10
    assert state.history[-1].epsilon <= 4.5
    assert "privacy budget" in flower_log.text


@pytest.mark.slow
def test_local_privacy_blurs_on_the_node(make_settings, run):
    settings = make_settings(
        privacy="local", normalization="local", clipping_norm=0.1, epsilon=5.0, rounds=1
    )
    state, _ = run(settings)
    told = Registry.open(settings.registry).specialist("simulated-federated")
    privacy = told.training["federation"]["privacy"]
    assert privacy["mechanism"] == "local"
    assert privacy["epsilon"] <= 5.0
    assert state.history[0].answered == 2
