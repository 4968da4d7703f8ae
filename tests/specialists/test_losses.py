"""Losses: what is not labelled costs nothing, weights and smoothing act, scales do not."""

import pytest
import torch
from torch.nn import functional

from sensors import InputError
from specialists.losses import TaskLoss, balance_weights


def test_ignored_pixels_cost_nothing_and_get_no_gradient(make_spec):
    spec = make_spec(task="semantic-segmentation", classes=("land", "water"))
    outputs = torch.randn(2, 2, 3, 3, requires_grad=True)
    target = torch.zeros(2, 3, 3, dtype=torch.long)
    target[:, 0] = 255
    for kind in ("default", "cross-entropy-dice"):
        [gradient] = torch.autograd.grad(TaskLoss(spec, kind)(outputs, target), outputs)
        assert (gradient[:, :, 0] == 0).all()
        assert (gradient[:, :, 1:] != 0).all()


@pytest.mark.parametrize(
    ("changes", "target"),
    [
        ({"task": "semantic-segmentation"}, torch.full((2, 4, 4), 255)),
        ({"task": "regression", "per_pixel": True}, torch.full((2, 3, 4, 4), torch.nan)),
    ],
)
def test_batch_without_any_label_has_loss_0(make_spec, changes, target):
    outputs = torch.randn(2, 3, 4, 4, requires_grad=True)
    loss = TaskLoss(make_spec(**changes))(outputs, target)
    loss.backward()
    assert loss == 0
    assert (outputs.grad == 0).all()


def test_single_label_and_its_distribution_cost_the_same(make_spec):
    outputs, target = torch.randn(5, 3), torch.tensor([0, 1, 2, 0, 1])
    loss = TaskLoss(make_spec(), label_smoothing=0.1)
    soft = functional.one_hot(target, 3).float()
    assert torch.allclose(loss(outputs, target), loss(outputs, soft))
    assert loss(outputs, target) != TaskLoss(make_spec())(outputs, target)


def test_multi_label_weights_act_on_positives(make_spec):
    spec = make_spec(multi_label=True)
    outputs, target = torch.zeros(1, 3), torch.tensor([[1.0, 0.0, 0.0]])
    plain = TaskLoss(spec)(outputs, target)
    weighted = TaskLoss(spec, weight_K=torch.tensor([4.0, 9.0, 9.0]))(outputs, target)
    assert torch.allclose(weighted, plain * 2)


@pytest.mark.parametrize("kind", ["default", "mse"])
def test_regression_does_not_depend_on_the_targets_unit(make_spec, kind):
    spec = make_spec(task="regression", classes=("t",), target_mean=(5.0,), target_std=(2.0,))
    larger = make_spec(task="regression", classes=("t",), target_mean=(500.0,), target_std=(200.0,))
    outputs, target = torch.randn(6, 1), torch.randn(6, 1) * 2 + 5
    first = TaskLoss(spec, kind)(outputs, target)
    assert torch.allclose(first, TaskLoss(larger, kind)(outputs, target * 100), atol=1e-5)
    assert torch.allclose(TaskLoss(spec, kind)((target - 5) / 2, target), torch.tensor(0.0))


def test_balanced_weights():
    weights = balance_weights(torch.tensor([10, 30]))
    assert torch.allclose(weights, torch.tensor([2.0, 2 / 3]))
    assert torch.allclose(balance_weights(torch.tensor([10, 30]), 40), torch.tensor([3.0, 1 / 3]))
    assert balance_weights(torch.tensor([0, 20]), 40).isfinite().all()


def test_loss_of_another_task_is_refused(make_spec):
    with pytest.raises(InputError, match="semantic-segmentation"):
        TaskLoss(make_spec(), "cross-entropy-dice")
    with pytest.raises(InputError, match="hinge"):
        TaskLoss(make_spec(), "hinge")
