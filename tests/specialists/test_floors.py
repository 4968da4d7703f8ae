"""Floors: the majority, and a linear model that solves what is linear, on every task."""

import warnings

import numpy as np
import pytest
import torch

from specialists.floors import image_statistics, measure_floors


def make_chips(count, *, target, bands=2, size=4, seed=0):
    """Chips, every second one bright in its first band; `target(bright, image)` labels them."""
    draw = np.random.default_rng(seed)
    chips = []
    for number in range(count):
        image = torch.from_numpy(draw.normal(0.2, 0.02, (bands, size, size)).astype(np.float32))
        image[0] += 0.4 * (number % 2)
        valid = torch.ones_like(image, dtype=torch.bool)
        chips.append({"image": image, "valid": valid, **target(number % 2, image)})
    return chips


def measure(spec, target, train=40, test=20):
    scores = measure_floors(
        spec,
        make_chips(train, target=target),
        {"test": make_chips(test, target=target, seed=1)},
    )
    return scores["majority"]["test"], scores["linear_statistics"]["test"]


def spec_of(make_spec, **changes):
    return make_spec(bands=make_spec().bands[:2], **changes)


def test_scenes(make_spec):
    spec = spec_of(make_spec)
    majority, linear = measure(spec, lambda bright, _: {"label": torch.tensor(2 * bright)})
    assert majority["accuracy"] == pytest.approx(0.5)
    assert linear["accuracy"] == 1
    assert majority.keys() == linear.keys()


def test_multi_label_with_a_label_that_all_carry(make_spec):
    spec = spec_of(make_spec, multi_label=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        majority, linear = measure(
            spec, lambda bright, _: {"label": torch.tensor([1.0, bright, 1 - bright])}
        )
    assert majority["map"] < linear["map"] == 1


def test_segmentation_with_ignored_and_invalid_pixels(make_spec):
    spec = spec_of(make_spec, task="semantic-segmentation", classes=("dark", "bright"))

    def label(bright, image):
        mask = torch.full((4, 4), bright)
        mask[0] = 255
        return {"mask": mask}

    majority, linear = measure(spec, label)
    assert majority["accuracy"] == pytest.approx(0.5)
    assert majority["support"] == {"dark": 120, "bright": 120}
    assert linear["miou"] == 1


def test_rare_class_is_not_lost_where_pixels_are_drawn(make_spec, monkeypatch):
    monkeypatch.setattr("specialists.floors.MAX_PIXELS", 40)
    spec = spec_of(make_spec, task="semantic-segmentation", classes=("dark", "bright"))

    def label(bright, image):
        mask = torch.zeros(4, 4, dtype=torch.long)
        image[0, 1, 2], mask[1, 2] = 5.0, 1
        return {"mask": mask}

    majority, linear = measure(spec, label)
    assert majority["accuracy"] == pytest.approx(15 / 16)
    assert linear["miou"] == 1


@pytest.mark.parametrize("per_pixel", [False, True])
def test_regression(make_spec, per_pixel):
    spec = spec_of(make_spec, task="regression", classes=("t",), per_pixel=per_pixel)

    def value(bright, image):
        if per_pixel:
            return {"mask": image[:1] * 100 + 300}
        return {"label": image[0].mean()[None] * 100 + 300}

    majority, linear = measure(spec, value)
    assert majority["rmse"] > 15
    assert linear["rmse"] < 3


def test_statistics_are_those_of_valid_pixels():
    image = np.array([[[1, 2], [3, 1000]], [[7, 7], [7, 7]]], np.float32)
    valid = np.array([[[1, 1], [1, 0]], [[0, 0], [0, 0]]], bool)
    found = image_statistics(image, valid)
    assert found[:5] == pytest.approx([2, np.std([1, 2, 3]), 1.2, 2, 2.8])
    assert np.isnan(found[5:]).all()


def test_chips_without_a_band_are_scored_all_the_same(make_spec):
    def label(bright, image):
        return {"label": torch.tensor(bright)}

    train, test = make_chips(20, target=label), make_chips(10, target=label, seed=1)
    for chip in (train[0], test[0]):
        chip["valid"][1] = False
    scores = measure_floors(spec_of(make_spec), train, {"test": test})
    assert scores["linear_statistics"]["test"]["accuracy"] == 1
