"""Scores: torchmetrics' own numbers, and the same numbers for any resample."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score
from torchmetrics import classification as reference

from evaluation.predictions import PredictionsBuilder, ScenePredictions
from evaluation.scores import Scorer, confusion, per_class, score
from evaluation.tasks import Task, metrics_of
from sensors import Band, InputError
from specialists import SpecialistSpec
from specialists.metrics import TaskMetrics

CLASSES = ("field", "forest", "town", "water")


def task_metrics(task, prediction, target):
    spec = SpecialistSpec(
        task=task.kind,
        bands=(Band("red", 0.665, 0.03),),
        classes=task.classes,
        mean=(0.0,),
        std=(1.0,),
        gsd=10.0,
        chip_size=8,
        multi_label=task.multi_label,
        per_pixel=task.per_pixel and task.kind == "regression",
    )
    metrics = TaskMetrics(spec)
    metrics.update(torch.as_tensor(prediction), torch.as_tensor(target))
    return metrics.compute()


def names(count):
    return [f"chip {number}" for number in range(count)]


def scenes(draw, count=200, classes=CLASSES, occurring=None):
    task = Task("scene-classification", classes)
    target = draw.integers(0, occurring or len(classes), count)
    logits = draw.normal(0, 1, (count, len(classes)))
    logits[np.arange(count), target] += 1
    probability = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return ScenePredictions.of(task, names(count), probability, target)


def labels(draw, count=200, classes=CLASSES, rounded=None):
    task = Task("scene-classification", classes, multi_label=True)
    target = draw.random((count, len(classes))) < 0.3
    probability = np.clip(0.3 * target + draw.random((count, len(classes))) * 0.7, 0, 1)
    if rounded is not None:
        probability = probability.round(rounded)
    return ScenePredictions.of(task, names(count), probability, target)


def pixel_batch(draw, count=12, classes=CLASSES, occurring=None, size=9):
    mask = draw.integers(0, occurring or len(classes), (count, size, size))
    logits = torch.from_numpy(draw.normal(0, 1, (count, len(classes), size, size)))
    logits += 1.5 * torch.nn.functional.one_hot(torch.from_numpy(mask), len(classes)).movedim(-1, 1)
    mask[draw.random(mask.shape) < 0.2] = 255
    return logits.softmax(1).float(), mask


def build(task, prediction, target):
    builder = PredictionsBuilder(task)
    half = len(prediction) // 2
    builder.update(prediction[:half], target[:half], names(len(prediction))[:half])
    builder.update(prediction[half:], target[half:], names(len(prediction))[half:])
    return builder.build()


def assert_agrees(predictions, expected):
    found, table = score(predictions), per_class(predictions)
    for name, value in expected.items():
        if isinstance(value, dict):
            assert table[name].keys() == value.keys()
            for label, number in value.items():
                # torchmetrics counts in float32
                wanted = None if number is None else pytest.approx(number, rel=1e-5)
                assert table[name][label] == wanted, (name, label)
        else:
            assert found[name] == pytest.approx(value, rel=1e-5), name


@pytest.mark.filterwarnings("ignore:y_pred contains classes")
@pytest.mark.parametrize("occurring", [4, 3])
def test_scenes_are_scored_as_by_torchmetrics(occurring):
    predictions = scenes(np.random.default_rng(0), occurring=occurring)
    probability = torch.from_numpy(predictions.prediction_NK)
    target = torch.from_numpy(predictions.target)
    assert_agrees(predictions, task_metrics(predictions.task, probability, target))
    found = score(predictions)
    balanced = balanced_accuracy_score(target, probability.argmax(1))
    assert found["macro_accuracy"] == pytest.approx(balanced)
    error = reference.MulticlassCalibrationError(4, n_bins=15)(probability, target)
    assert found["ece"] == pytest.approx(error.item(), rel=1e-5)
    matrix = reference.MulticlassConfusionMatrix(4)(probability, target)
    np.testing.assert_array_equal(confusion(predictions), matrix)


def test_macro_accuracy_equals_torchmetrics_where_all_classes_occur():
    predictions = scenes(np.random.default_rng(1))
    metric = reference.MulticlassAccuracy(4, average="macro")
    value = metric(
        torch.from_numpy(predictions.prediction_NK), torch.from_numpy(predictions.target)
    )
    assert score(predictions)["macro_accuracy"] == pytest.approx(value.item())


@pytest.mark.parametrize("rounded", [None, 1])
def test_labels_are_scored_as_by_torchmetrics(rounded):
    predictions = labels(np.random.default_rng(0), rounded=rounded)
    predictions.target[:, 3] = False
    probability = torch.from_numpy(predictions.prediction_NK)
    target = torch.from_numpy(predictions.target).long()
    assert_agrees(predictions, task_metrics(predictions.task, probability, target))
    found = score(predictions)
    for name, metric in {
        "micro_map": reference.MultilabelAveragePrecision(4, average="micro"),
        "micro_f1": reference.MultilabelF1Score(4, average="micro"),
    }.items():
        assert found[name] == pytest.approx(metric(probability, target).item(), rel=1e-5)
    error = reference.BinaryCalibrationError(15)(probability.ravel(), target.ravel())
    assert found["ece"] == pytest.approx(error.item(), rel=1e-4)
    assert confusion(predictions) is None


@pytest.mark.parametrize("occurring", [4, 3])
def test_pixels_are_scored_as_by_torchmetrics(occurring):
    probability, mask = pixel_batch(np.random.default_rng(0), occurring=occurring)
    predictions = build(Task("semantic-segmentation", CLASSES), probability, mask)
    target = torch.from_numpy(mask)
    assert_agrees(predictions, task_metrics(predictions.task, probability, target))
    found = score(predictions)
    micro = reference.MulticlassJaccardIndex(4, average="micro", ignore_index=255)
    assert found["micro_iou"] == pytest.approx(micro(probability, target).item())
    error = reference.MulticlassCalibrationError(4, n_bins=15, ignore_index=255)
    assert found["ece"] == pytest.approx(error(probability, target).item(), rel=1e-4)
    matrix = reference.MulticlassConfusionMatrix(4, ignore_index=255)(probability, target)
    np.testing.assert_array_equal(confusion(predictions), matrix)


@pytest.mark.parametrize("center", [0.0, 300.0])
def test_regression_of_scenes_and_pixels_is_scored_as_by_torchmetrics(center):
    draw = np.random.default_rng(0)
    target = (center + draw.normal(0, 1, (40, 2, 5, 5))).astype(np.float32)
    prediction = target + draw.normal(0.1, 0.5, target.shape).astype(np.float32)
    target[draw.random(target.shape) < 0.1] = np.nan
    pixels = build(Task("regression", ("warmth", "depth"), per_pixel=True), prediction, target)
    assert_agrees(pixels, task_metrics(pixels.task, prediction, target))
    task = Task("regression", ("warmth", "depth"))
    one = ScenePredictions.of(task, names(40), prediction[:, :, 0, 0], target[:, :, 0, 0])
    assert_agrees(one, task_metrics(task, one.prediction_NK, one.target))
    assert confusion(pixels) is None
    assert confusion(one) is None


def test_r2_is_undefined_of_equal_values():
    task = Task("regression", ("warmth",))
    said = np.arange(6.0)[:, None]
    equal = ScenePredictions.of(task, names(6), said, np.full((6, 1), 300.1))
    assert np.isnan(score(equal)["r2"])
    assert per_class(equal)["r2"] == {"warmth": None}
    assert per_class(equal)["support"] == {"warmth": 6}
    mixed = ScenePredictions.of(task, names(6), said, [[300.1]] * 5 + [[1.1]])
    r2 = score(mixed, np.array([[3, 2, 3, 2, 0, 0], [1, 1, 1, 1, 1, 1]]))["r2"]
    assert np.isnan(r2).tolist() == [True, False]


def make(kind, draw):
    if kind == "labels":
        return labels(draw, 30, rounded=1)
    if kind == "scenes":
        return scenes(draw, 30)
    if kind == "pixels":
        return build(Task("semantic-segmentation", CLASSES), *pixel_batch(draw))
    target = draw.normal(280, 3, (10, 1, 4, 4)).astype(np.float32)
    noise = draw.normal(0, 1, target.shape).astype(np.float32)
    return build(Task("regression", ("warmth",), per_pixel=True), target + noise, target)


def repeat(predictions, times):
    """The same samples again, as often as said."""
    rows = np.repeat(np.arange(len(times)), times)
    fields = {
        name: value[rows]
        for name, value in vars(predictions).items()
        if isinstance(value, np.ndarray)
    }
    return type(predictions)(task=predictions.task, ids=tuple(names(len(rows))), **fields)


@pytest.mark.parametrize("kind", ["scenes", "labels", "pixels", "values"])
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**16))
def test_a_weight_is_a_number_of_copies(kind, seed):
    draw = np.random.default_rng(seed)
    predictions = make(kind, draw)
    times = draw.integers(0, 3, (2, len(predictions.ids)))
    times[:, 0] += 1
    weighted = score(predictions, times)
    assert tuple(weighted) == metrics_of(predictions.task)
    for number, row in enumerate(times):
        copied = score(repeat(predictions, row))
        for name, value in copied.items():
            assert weighted[name][number] == pytest.approx(value[0], nan_ok=True), name


def test_nothing_drawn_is_no_score():
    for kind in ("scenes", "labels", "pixels", "values"):
        predictions = make(kind, np.random.default_rng(0))
        found = score(predictions, np.zeros((1, len(predictions.ids))))
        assert all(np.isnan(value).all() for value in found.values())


def test_classes_that_do_not_occur_have_no_score():
    predictions = scenes(np.random.default_rng(0), occurring=3)
    table = per_class(predictions)
    for name in ("f1", "precision", "recall"):
        assert table[name]["water"] is None
        assert 0 < table[name]["field"] < 1
    assert table["support"]["water"] == 0


def test_unknown_metrics_and_misfit_weights_are_named():
    predictions = scenes(np.random.default_rng(0), 5)
    with pytest.raises(InputError, match=r"'miou' is not one of .*accuracy, macro_accuracy"):
        Scorer(predictions, ["miou"])
    with pytest.raises(InputError, match=r"weights are \(1, 4\), expected \(R, 5\)"):
        score(predictions, np.ones((1, 4)))
