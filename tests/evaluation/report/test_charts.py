import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.report._results import Score
from evaluation.report._words import MINUS
from evaluation.report.charts import frontier, linear_axis, log_axis, mark, steps

numbers = st.floats(-1e4, 1e4).map(lambda x: round(x, 6))
positive = st.floats(1e-4, 1e13)


def read(text):
    """Value of a tick's label."""
    scale = {"k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
    number, _, prefix = text.replace(MINUS, "-").replace(",", "").partition(" ")
    return float(number) * scale.get(prefix, 1)


@given(st.lists(numbers, min_size=1, max_size=20))
def test_linear_axis_holds_the_values_between_its_first_and_last_tick(values):
    axis = linear_axis(values)
    assert axis.low <= min(values) + 1e-9
    assert axis.high >= max(values) - 1e-9
    places = [place for place, _ in axis.ticks]
    assert places[0] == 0
    assert places[-1] == 100
    assert 2 <= len(places) <= 7
    assert places == sorted(places)


@given(st.lists(numbers, min_size=1, max_size=20))
def test_labels_of_a_linear_axis_say_where_they_stand(values):
    axis = linear_axis(values)
    for place, text in axis.ticks:
        assert axis.at(read(text)) == pytest.approx(place, abs=0.2)


@given(st.lists(positive, min_size=1, max_size=20))
def test_log_axis_holds_the_values_and_gives_equal_ratios_equal_lengths(values):
    axis = log_axis(values)
    assert all(0 < axis.at(value) < 100 for value in values)
    assert len(axis.ticks) <= 6
    assert axis.at(math.sqrt(axis.low * axis.high)) == pytest.approx(50, abs=0.1)
    for place, text in axis.ticks:
        assert axis.at(read(text)) == pytest.approx(place, abs=0.2)


@pytest.mark.parametrize("value", [0.0, 1e-17, 0.95, -3.0, 1e6])
def test_axis_of_one_value_has_a_length(value):
    axis = linear_axis([value])
    assert axis.low < axis.high
    assert 0 <= axis.at(value) <= 100
    assert all(len(text) < 10 for _, text in axis.ticks)


def test_marks_beyond_the_axis_say_on_which_side():
    axis = linear_axis([0.8, 1.0])
    assert mark(axis, Score(0.9, 0.85, 0.95)).off == ""
    low = mark(axis, Score(0.1, 0.05, 0.15))
    assert (low.off, low.at, low.low, low.high) == ("left", 0, 0, 0)
    assert mark(axis, Score(3.0, None, None)).off == "right"


def test_whisker_is_cut_at_the_end_of_the_axis():
    cut = mark(linear_axis([0.8, 1.0]), Score(0.9, 0.1, 0.95))
    assert (cut.low, cut.off) == (0, "")


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=12))
def test_frontier_is_what_nothing_beats(points):
    kept = frontier(points)
    for number, (cost, quality) in enumerate(points):
        beaten = any((c <= cost and q >= quality) and (c, q) != (cost, quality) for c, q in points)
        assert ((cost, quality) in [points[k] for k in kept]) == (not beaten)
        assert beaten or number in kept or points.count((cost, quality)) > 1
    costs = [points[k][0] for k in kept]
    assert costs == sorted(costs)


def test_steps_go_right_and_then_up():
    assert steps([(10, 20), (50, 60)]) == "10.0,80.0 50.0,80.0 50.0,40.0 100.0,40.0"
    assert steps([]) == ""
