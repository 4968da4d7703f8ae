import math

import pytest
import torch

from router.composing.terms import information, load_balance, mean_entropy, watch_gate
from router.gate import Routing


def route(scores, applicable=None, chosen=None):
    """A routing by the softmax of scores, of those that can run."""
    scores_BM = torch.tensor(scores, dtype=torch.float64, requires_grad=True)
    can_BM = torch.ones(scores_BM.shape, dtype=torch.bool)
    if applicable is not None:
        can_BM = torch.tensor(applicable, dtype=torch.bool)
    shares_BM = torch.nan_to_num(scores_BM.masked_fill(~can_BM, float("-inf")).softmax(1))
    weights_BM = shares_BM if chosen is None else torch.tensor(chosen, dtype=torch.float64)
    return scores_BM, Routing(weights_BM, shares_BM, can_BM)


def test_one_member_an_image_is_balanced_as_in_switch_transformer():
    scores = [[2.0, 0.0, -1.0], [1.0, 3.0, 0.0], [0.5, 0.0, 0.0], [4.0, 1.0, 0.0]]
    chosen = [[1.0, 0, 0], [0, 1, 0], [1, 0, 0], [1, 0, 0]]
    _, routing = route(scores, chosen=chosen)
    fraction_M = torch.tensor([3, 1, 0], dtype=torch.float64) / 4
    likely_M = torch.tensor(scores, dtype=torch.float64).softmax(1).mean(0)
    assert load_balance(routing).item() == pytest.approx(3 * (fraction_M @ likely_M).item())


def test_equal_use_is_the_least_also_where_not_all_can_run():
    half = [[True, True, False], [True, True, True]] * 2
    even = [[0.5, 0.5, 0.0], [1 / 6, 1 / 6, 2 / 3]] * 2
    # Members 0 and 1 could each take (1/2 + 1/3) / 2, member 2 no more than (0 + 1/3) / 2.
    fair = [[0.5, 0.5, 0.0], [1 / 3, 1 / 3, 1 / 3]] * 2
    values = []
    for shares in (fair, even, [[0.9, 0.1, 0.0], [0.9, 0.05, 0.05]] * 2):
        logits = torch.tensor(shares).clamp_min(1e-9).log().tolist()
        _, routing = route(logits, half, chosen=shares)
        values.append(load_balance(routing).item())
    assert values[0] == pytest.approx(1)
    assert 1 < values[1] < values[2]


def test_a_crowded_member_becomes_less_likely():
    scores_BM, routing = route([[2.0, 0.0], [2.0, 0.0]], chosen=[[1.0, 0.0], [1.0, 0.0]])
    load_balance(routing).backward()
    assert (scores_BM.grad[:, 0] > 0).all()
    assert (scores_BM.grad[:, 1] < 0).all()


def test_entropy_is_that_of_the_members_that_can_run_and_has_a_gradient():
    scores_BM, routing = route(
        [[0.0, 0.0, 5.0], [0.0, 0.0, 0.0], [1.0, 0.0, 0.0]],
        [[True, True, False], [True, True, True], [True, False, False]],
    )
    entropy = mean_entropy(routing)
    expected = torch.tensor([2.0, 3.0, 1.0]).log().mean().item()
    assert entropy.item() == pytest.approx(expected)
    entropy.backward()
    assert scores_BM.grad.isfinite().all()
    sharp, routing = route([[1.0, 0.0]])
    mean_entropy(routing).backward()
    assert sharp.grad[0, 0] < 0 < sharp.grad[0, 1]


def test_images_that_nobody_can_run_for_do_not_count():
    nobody = [[False, False], [True, True]]
    _, routing = route([[0.0, 0.0], [3.0, 0.0]], nobody, chosen=[[0.0, 0.0], [1.0, 0.0]])
    _, alone = route([[3.0, 0.0]], chosen=[[1.0, 0.0]])
    assert load_balance(routing).item() == pytest.approx(load_balance(alone).item())
    scores_BM, routing = route([[1.0, 0.0]], [[False, False]])
    total = load_balance(routing) + mean_entropy(routing)
    total.backward()
    assert total.item() == 0
    assert torch.equal(scores_BM.grad, torch.zeros(1, 2, dtype=torch.float64))


def test_a_gate_is_watched_within_the_block_alone():
    class Echo(torch.nn.Module):
        def forward(self, routing):
            return routing

    gate, (_, routing) = Echo(), route([[1.0, 0.0]])
    gate(routing)
    with watch_gate(gate) as decided:
        gate(routing)
    gate(routing)
    assert decided == [routing]


def test_information_is_what_the_image_tells_of_the_member():
    _, routing = route([[1.0, 0.0], [1.0, 0.0]])
    assert information(routing).item() == pytest.approx(0, abs=1e-12)
    _, routing = route([[30.0, 0.0], [0.0, 30.0]])
    assert information(routing).item() == pytest.approx(math.log(2))
    partly, routing = route([[1.0, 0.0], [0.0, 1.0]])
    value = information(routing)
    value.backward()
    assert 0 < value.item() < math.log(2)
    # It pulls the images towards one another.
    assert partly.grad[0, 0] > 0 > partly.grad[1, 0]


def test_images_that_nobody_can_take_tell_nothing():
    _, routing = route([[1.0, 0.0], [1.0, 0.0]], [[True, True], [False, False]])
    assert information(routing).item() == pytest.approx(0, abs=1e-12)
    _, routing = route([[1.0, 0.0]], [[False, False]])
    assert information(routing).item() == 0
