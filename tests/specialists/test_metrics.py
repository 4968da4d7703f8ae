"""Metrics: checked against numbers worked out by hand, with ignored pixels and absent classes."""

import math

import pytest
import torch

from specialists.metrics import TaskMetrics, selection_metric


def one_hot(labels, count):
    return torch.nn.functional.one_hot(torch.tensor(labels), count).float()


def score(spec, *batches):
    metrics = TaskMetrics(spec)
    for prediction, target in batches:
        metrics.update(prediction, target)
    return metrics.compute()


def test_scenes(make_spec):
    spec = make_spec(classes=("a", "b", "c"))
    scores = score(
        spec,
        (one_hot([0, 0, 1], 3), torch.tensor([0, 0, 0])),
        (one_hot([1, 1, 1], 3), torch.tensor([1, 1, 1])),
    )
    assert scores["accuracy"] == pytest.approx(5 / 6)
    assert scores["f1"]["a"] == pytest.approx(0.8)
    assert scores["f1"]["b"] == pytest.approx(6 / 7)
    assert scores["f1"]["c"] is None
    assert scores["macro_f1"] == pytest.approx((0.8 + 6 / 7) / 2)
    assert scores["support"] == {"a": 3, "b": 3, "c": 0}


def test_segmentation_ignores_unlabelled_pixels(make_spec):
    spec = make_spec(task="semantic-segmentation", classes=("land", "water"))
    prediction = one_hot([[[0, 0, 1, 1]]], 2).movedim(-1, 1)
    target = torch.tensor([[[0, 0, 0, 255]]])
    scores = score(spec, (prediction, target))
    assert scores["accuracy"] == pytest.approx(2 / 3)
    assert scores["iou"] == {"land": pytest.approx(2 / 3), "water": None}
    assert scores["support"] == {"land": 3, "water": 0}
    assert scores["miou"] == pytest.approx(1 / 3)  # water was said where it is not


def test_multi_label_means_leave_out_classes_that_never_occur(make_spec):
    spec = make_spec(multi_label=True, classes=("a", "b", "c"))
    prediction = torch.tensor([[0.9, 0.2, 0.1], [0.8, 0.7, 0.2], [0.1, 0.9, 0.3]])
    target = torch.tensor([[1.0, 0, 0], [1, 1, 0], [0, 1, 0]])
    scores = score(spec, (prediction, target))
    assert scores["map"] == pytest.approx(1.0)
    assert scores["macro_f1"] == pytest.approx(1.0)
    assert scores["average_precision"]["c"] is None


def test_regression_leaves_out_unknown_targets(make_spec):
    spec = make_spec(task="regression", classes=("height",))
    prediction = torch.tensor([[1.0], [2.0], [50.0], [3.0]])
    target = torch.tensor([[1.0], [4.0], [torch.nan], [5.0]])
    scores = score(spec, (prediction, target))
    assert scores["rmse"] == pytest.approx(math.sqrt(8 / 3))
    assert scores["mae"] == pytest.approx(4 / 3)
    assert scores["r2"] == pytest.approx(1 - 8 / (26 / 3))


def test_regression_of_pixels_and_of_one_sample(make_spec):
    spec = make_spec(task="regression", classes=("height",), per_pixel=True)
    target = torch.tensor([[[1.0, torch.nan]]])
    scores = score(spec, (torch.full((1, 1, 1, 2), 3.0), target))
    assert scores["rmse"] == pytest.approx(2)
    assert math.isnan(scores["r2"])


def test_regression_is_exact_far_from_zero(make_spec):
    spec = make_spec(task="regression", classes=("temperature",))
    generator = torch.Generator().manual_seed(0)
    target = 300 + torch.randn(1_000_000, 1, generator=generator) * 0.1
    prediction = target + torch.randn(1_000_000, 1, generator=generator) * 0.05
    assert score(spec, (prediction, target))["r2"] == pytest.approx(0.75, abs=0.005)


def test_reset_forgets(make_spec):
    metrics = TaskMetrics(make_spec())
    metrics.update(one_hot([0], 3), torch.tensor([1]))
    metrics.reset()
    metrics.update(one_hot([2], 3), torch.tensor([2]))
    assert metrics.compute()["accuracy"] == 1
    assert metrics.compute()["support"]["water"] == 0


def test_what_selects(make_spec):
    assert selection_metric(make_spec()) == ("accuracy", "max")
    assert selection_metric(make_spec(multi_label=True)) == ("map", "max")
    assert selection_metric(make_spec(task="semantic-segmentation")) == ("miou", "max")
    assert selection_metric(make_spec(task="regression")) == ("rmse", "min")
