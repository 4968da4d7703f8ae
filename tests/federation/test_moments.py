"""An optimizer that goes on."""

import numpy as np
import torch
from torch import nn

from federation.moments import get_moments, set_moments


def steps(network, optimizer, count):
    for number in range(count):
        optimizer.zero_grad()
        network(torch.full((2, 3), 1.0 + number)).square().sum().backward()
        optimizer.step()


def build():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1))
    network[1].bias.requires_grad_(False)
    learning = [weight for weight in network.parameters() if weight.requires_grad]
    return network, torch.optim.AdamW(learning, lr=0.1)


def test_in_two_parts_it_goes_as_in_one():
    whole, optimizer = build()
    steps(whole, optimizer, 1)
    kept = get_moments(optimizer, whole)
    assert {name.rpartition("/")[2] for name in kept} == {"step", "exp_avg", "exp_avg_sq"}
    assert not any(name.startswith("1.bias") for name in kept)
    second, fresh = build()
    second.load_state_dict(whole.state_dict())
    set_moments(fresh, second, kept)
    steps(whole, optimizer, 2)
    steps(second, fresh, 2)
    for one, other in zip(whole.parameters(), second.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_what_was_kept_is_not_changed_by_going_on():
    network, optimizer = build()
    steps(network, optimizer, 1)
    kept = get_moments(optimizer, network)
    before = {name: array.copy() for name, array in kept.items()}
    second, fresh = build()
    set_moments(fresh, second, kept)
    steps(second, fresh, 1)
    for name, array in before.items():
        np.testing.assert_array_equal(kept[name], array)


def test_weights_that_it_does_not_name_begin_anew():
    network, optimizer = build()
    set_moments(optimizer, network, {"0.weight/step": np.float32(3)})
    assert not optimizer.state
    steps(network, optimizer, 1)
