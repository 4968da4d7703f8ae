"""Intervals: they cover what they should, follow groups and seeds, and pair what is compared."""

import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation.intervals import compare, interval, intervals, resample
from evaluation.predictions import ScenePredictions
from evaluation.scores import score
from evaluation.tasks import Task, metrics_of
from sensors import InputError

TASK = Task("scene-classification", ("no", "yes"))


def predictions_of(right, groups=None):
    """Scenes of two classes, some of them told rightly."""
    count = len(right)
    target = np.arange(count) % 2
    said = np.where(right, target, 1 - target)
    names = [str(number) for number in range(count)]
    return ScenePredictions.of(TASK, names, np.eye(2)[said] * 0.8 + 0.1, target, groups)


def coverage(sample, truth, trials):
    """Share of the trials in which the interval holds the true accuracy."""
    draw = np.random.default_rng(0)
    held = 0
    for trial in range(trials):
        found = interval(sample(draw), "accuracy", resamples=400, seed=trial)
        held += found.low <= truth <= found.high
    return held / trials


def test_nominal_intervals_cover_95_of_100_samples():
    def sample(draw):
        return [predictions_of(draw.random(300) < 0.8)]

    assert 0.92 <= coverage(sample, 0.8, 400) <= 0.98


def grouped(draw, with_groups=True):
    """60 groups of 10 scenes; whole groups are easy or hard."""
    chance = np.repeat(draw.choice([0.55, 0.95], 60), 10)
    groups = [f"place {number // 10}" for number in range(600)] if with_groups else None
    return [predictions_of(draw.random(600) < chance, groups)]


@pytest.mark.slow
def test_intervals_over_groups_cover_where_those_over_samples_do_not():
    assert 0.92 <= coverage(grouped, 0.75, 600) <= 0.98
    assert coverage(lambda draw: grouped(draw, with_groups=False), 0.75, 600) < 0.9


@pytest.mark.slow
def test_intervals_over_seeds_cover():
    def sample(draw):
        hard = draw.random(300)  # the same scenes are hard for every seed
        seeds = draw.normal(0.7, 0.03, 8)
        return [predictions_of(hard < chance) for chance in seeds]

    assert 0.92 <= coverage(sample, 0.7, 600) <= 0.98


def labelled(draw, count):
    """Scenes with any of six rare labels."""
    target = draw.random((count, 6)) < np.linspace(0.05, 0.1, 6)
    evidence = draw.normal(1.2 * target, 1)
    task = Task("scene-classification", "abcdef", multi_label=True)
    names = [str(number) for number in range(count)]
    return ScenePredictions.of(task, names, 1 / (1 + np.exp(0.5 - evidence)), target)


@pytest.mark.slow
def test_limits_cover_a_score_that_grows_with_copies_where_plain_percentiles_do_not():
    truth = score(labelled(np.random.default_rng(1), 200_000))["map"].item()
    draw = np.random.default_rng(0)
    covered = plainly = 0
    for trial in range(300):
        resampled = resample([labelled(draw, 200)], ["map"], resamples=400, seed=trial)
        found = resampled.interval("map")
        low, high = np.quantile(resampled.draws["map"], [0.025, 0.975])
        covered += found.low <= truth <= found.high
        plainly += low <= truth <= high
    assert covered / 300 >= 0.88
    assert plainly / 300 < 0.8


def test_the_value_is_the_mean_over_seeds():
    draw = np.random.default_rng(0)
    seeds = [predictions_of(draw.random(100) < chance) for chance in (0.6, 0.7, 0.9)]
    found = interval(seeds, "accuracy")
    assert found.value == pytest.approx(np.mean([score(one)["accuracy"] for one in seeds]))
    assert found.low < found.value < found.high
    assert (found.unit, found.units, found.resamples) == ("samples", 100, 1000)
    alone = interval(seeds[:1], "accuracy")
    assert found.high - found.low > alone.high - alone.low


def test_the_spread_of_few_groups_is_not_too_small():
    share = np.array([0.2, 0.4, 0.5, 0.9])
    groups = np.repeat(list("abcd"), 20)
    one = predictions_of(np.tile(np.arange(20), 4) < np.repeat(20 * share, 20), groups)
    spread = resample([one], ["accuracy"], resamples=20_000).draws["accuracy"].var()
    assert spread == pytest.approx(share.var(ddof=1) / 4, rel=0.05)


def test_one_group_says_nothing_about_others():
    one = predictions_of(np.arange(10) > 3, ["place"] * 10)
    found = interval([one], "accuracy")
    assert found.value == pytest.approx(0.6)
    assert (found.unit, found.units) == ("groups", 1)
    assert np.isnan([found.low, found.high]).all()
    difference = compare([one], [one], "accuracy")
    assert np.isnan([difference.low, difference.high, difference.p_value]).all()


def test_a_seed_repeats_the_numbers():
    one = predictions_of(np.random.default_rng(0).random(50) < 0.7)
    assert intervals([one], seed=1) == intervals([one], seed=1)
    assert intervals([one], seed=1) != intervals([one], seed=2)
    assert tuple(intervals([one])) == metrics_of(TASK)
    assert intervals([one])["ece"] == interval([one], "ece")


@settings(max_examples=40, deadline=None)
@given(
    right=st.lists(st.booleans(), min_size=2, max_size=30),
    other=st.integers(0, 2**30 - 1),
    metric=st.sampled_from(["accuracy", "macro_accuracy"]),
)
def test_contract(right, other, metric):
    first = predictions_of(np.array(right))
    second = predictions_of(np.array([other >> bit & 1 for bit in range(len(right))], bool))
    found = interval([first], metric, resamples=200)
    assert 0 <= found.low <= found.value <= found.high <= 1
    forth = compare([first], [second], metric, resamples=200)
    back = compare([second], [first], metric, resamples=200)
    assert forth.value == pytest.approx(-back.value)
    assert (forth.low, forth.high) == pytest.approx((-back.high, -back.low))
    assert forth.p_value == pytest.approx(back.p_value)
    assert 0 < forth.p_value <= 1


def test_pairs_tell_apart_what_separate_intervals_do_not():
    draw = np.random.default_rng(0)
    right = draw.random(500) < 0.7
    better = right | (draw.random(500) < 0.08)
    first, second = [predictions_of(better)], [predictions_of(right)]
    assert interval(first, "accuracy").low < interval(second, "accuracy").high
    difference = compare(first, second, "accuracy")
    assert 0 < difference.low < difference.value < difference.high
    assert difference.p_value < 0.01


def test_the_same_predictions_do_not_differ():
    one = [predictions_of(np.arange(40) % 3 > 0)]
    found = compare(one, one, "accuracy")
    assert (found.value, found.low, found.high, found.p_value) == (0, 0, 0, 1)


@pytest.mark.slow
def test_p_values_of_equals_are_even():
    draw = np.random.default_rng(0)
    values = [
        compare(
            [predictions_of(draw.random(200) < 0.7)],
            [predictions_of(draw.random(200) < 0.7)],
            "accuracy",
            resamples=200,
        ).p_value
        for _ in range(300)
    ]
    assert 0.02 <= np.mean(np.array(values) <= 0.05) <= 0.08
    assert 0.4 <= np.mean(np.array(values) <= 0.5) <= 0.6


def test_one_resampling_serves_all_comparisons():
    draw = np.random.default_rng(0)
    first, second = ([predictions_of(draw.random(60) < 0.7) for _ in range(2)] for _ in range(2))
    resampled, other = resample(first), resample(second)
    assert resampled.interval("macro_f1") == interval(first, "macro_f1")
    assert resampled.compare(other, "macro_f1") == compare(first, second, "macro_f1")
    with pytest.raises(InputError, match="'miou' is not one of those resampled: accuracy"):
        resampled.interval("miou")
    with pytest.raises(InputError, match=r"1000 resamples of seed 0 .* 1000 of seed 1"):
        resampled.compare(resample(second, seed=1), "accuracy")


def test_what_cannot_be_compared_is_named():
    one = predictions_of(np.ones(4, bool))
    with pytest.raises(InputError, match="4 and 5, 4 of them in both"):
        compare([one], [predictions_of(np.ones(5, bool))], "accuracy")
    with pytest.raises(InputError, match=r"4 and 4, 4 of them in both.*groups"):
        compare([one], [predictions_of(np.ones(4, bool), list("aabb"))], "accuracy")
    with pytest.raises(InputError, match="no predictions"):
        interval([], "accuracy")
    other = Task("scene-classification", ("yes", "no"))
    foreign = ScenePredictions.of(other, one.ids, one.prediction_NK, one.target)
    with pytest.raises(InputError, match="two tasks"):
        compare([one], [foreign], "accuracy")
    with pytest.raises(InputError, match="'miou' is not one of"):
        interval([one], "miou")


@pytest.mark.parametrize("multi_label", [False, True])
def test_quick_and_small_on_ten_thousand_samples(multi_label):
    draw = np.random.default_rng(0)
    task = Task("scene-classification", [str(number) for number in range(10)], multi_label)
    target = draw.random((10_000, 10)) < 0.2 if multi_label else draw.integers(0, 10, 10_000)
    names = [str(number) for number in range(10_000)]
    one = ScenePredictions.of(task, names, draw.dirichlet(np.ones(10), 10_000), target)
    started = time.process_time()
    intervals([one], resamples=200)
    assert time.process_time() - started < 3  # 0.04 s, and 0.5 s for labels, on a quiet core
    tracemalloc.start()
    intervals([one], resamples=60)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 200e6
