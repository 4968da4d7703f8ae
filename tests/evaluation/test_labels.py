import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation.labels import few_labels
from rasters import IGNORE_INDEX
from sensors import InputError

SEEDS = st.integers(0, 10_000)
FRACTIONS = st.floats(0.001, 1)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=200), FRACTIONS, SEEDS)
def test_each_class_keeps_its_share_and_at_least_one_sample(classes, fraction, seed):
    classes = np.array(classes)
    chosen = few_labels(classes, fraction, seed)
    assert (np.diff(chosen) > 0).all()
    for value, count in zip(*np.unique(classes, return_counts=True), strict=True):
        assert (classes[chosen] == value).sum() == max(1, round(fraction * count))


def targets_of(kind, seed):
    generator = np.random.default_rng(seed)
    if kind == "classes":
        return generator.integers(0, 4, 50)
    if kind == "flags":
        return (generator.random((50, 5)) < 0.2).astype(np.float32)
    if kind == "masks":
        return generator.choice([0, 1, 2, IGNORE_INDEX], (50, 2, 2)).astype(np.uint8)
    return generator.normal(size=(50, 2))


@settings(deadline=None)
@given(
    st.sampled_from(["classes", "flags", "masks", "values"]), st.tuples(FRACTIONS, FRACTIONS), SEEDS
)
def test_fewer_labels_are_a_part_of_more(kind, fractions, seed):
    targets = targets_of(kind, seed)
    few, more = (few_labels(targets, fraction, seed) for fraction in sorted(fractions))
    assert set(few) <= set(more)
    np.testing.assert_array_equal(few, few_labels(targets, min(fractions), seed))


@pytest.mark.parametrize("kind", ["classes", "flags", "masks", "values"])
def test_another_seed_draws_others(kind):
    targets = targets_of(kind, 0)
    draws = {tuple(few_labels(targets, 0.2, seed)) for seed in range(5)}
    assert len(draws) > 1


def masks_with_rare_classes():
    masks = np.zeros((100, 4, 4), np.uint8)
    masks[3, 0, 0], masks[70, 0, 0], masks[71, 1, 1], masks[71, 2, 2] = 1, 2, 2, 3
    return masks


@pytest.mark.parametrize("seed", range(5))
def test_every_class_of_masks_is_kept_if_it_can(seed):
    masks = masks_with_rare_classes()
    chosen = few_labels(masks, 0.02, seed)
    assert len(chosen) == 2
    assert set(np.unique(masks[chosen])) == {0, 1, 2, 3}
    assert len(few_labels(masks, 0.01, seed)) == 1  # too few for all, and no more than asked


@pytest.mark.parametrize("seed", range(5))
def test_one_chip_that_has_all_goes_before_others(seed):
    masks = np.zeros((100, 4, 4), np.uint8)
    masks[[3, 4], 0, 0] = 1
    masks[[4, 5, 6], 1, 1] = 2
    assert few_labels(masks, 0.01, seed).tolist() == [4]


def test_every_label_is_kept_if_it_can():
    flags = np.zeros((100, 3), np.float32)
    flags[:, 0], flags[41, 1], flags[17, 2] = 1, 1, 1
    chosen = few_labels(flags, 0.05, 0)
    assert len(chosen) == 5
    assert {17, 41} <= set(chosen)


def test_masks_without_a_label_are_not_drawn():
    masks = masks_with_rare_classes()
    masks[:50] = IGNORE_INDEX
    chosen = few_labels(masks, 0.2, 0)
    assert len(chosen) == 10
    assert chosen.min() >= 50


def test_values_that_nobody_knows_are_not_drawn():
    values = np.full((20, 1, 2, 2), np.nan)
    values[7, 0, 1, 1] = 3
    assert few_labels(values, 1, 0).tolist() == [7]


def test_scenes_without_any_of_the_labels_count():
    assert len(few_labels(np.zeros((20, 3)), 0.5, 0)) == 10


@pytest.mark.parametrize("fraction", [0, -0.1, 1.1])
def test_a_fraction_that_is_none(fraction):
    with pytest.raises(InputError, match=f"fraction of {fraction} of the labels"):
        few_labels(np.arange(3), fraction, 0)


@pytest.mark.parametrize(
    "targets", [np.full((4, 2, 2), IGNORE_INDEX, np.uint8), np.full((4, 1), np.nan)]
)
def test_nothing_is_labelled(targets):
    with pytest.raises(InputError, match="none of the 4 training samples has a label"):
        few_labels(targets, 0.5, 0)
