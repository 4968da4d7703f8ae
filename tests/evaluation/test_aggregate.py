"""Aggregates: worked by hand, and what is missing is counted and never a zero."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation.aggregate import aggregate
from sensors import InputError


def test_worked_by_hand():
    result = aggregate(
        {
            "guild": {"scenes": (0.9, "max"), "maps": (0.5, "max"), "depth": (2.0, "min")},
            "single": {"scenes": (0.8, "max"), "maps": (0.7, "max"), "depth": (3.0, "min")},
            "floor": {"scenes": (0.5, "max"), "maps": (0.5, "max"), "depth": (4.0, "min")},
        }
    )
    guild, single, floor = result["guild"], result["single"], result["floor"]
    assert guild.normalised_mean == pytest.approx((1 + 0 + 1) / 3)
    assert single.normalised_mean == pytest.approx((0.75 + 1 + 0.5) / 3)
    assert floor.normalised_mean == 0
    assert guild.average_rank == pytest.approx((1 + 2.5 + 1) / 3)
    assert floor.average_rank == pytest.approx((3 + 2.5 + 3) / 3)
    assert guild.distance_to_best == pytest.approx(20 / 3)
    assert single.distance_to_best == pytest.approx((10 + 0 + 50) / 3)
    assert (guild.data_sets, guild.of) == (3, 3)


def test_missing_cells_are_left_out_and_counted():
    result = aggregate(
        {
            "guild": {"scenes": (0.9, "max"), "maps": (0.5, "max")},
            "single": {"scenes": (0.8, "max")},
            "broken": {},
        }
    )
    assert (result["guild"].data_sets, result["guild"].of) == (1, 2)  # nothing to compare on maps
    assert result["guild"].normalised_mean == 1
    assert result["single"].average_rank == 2
    assert result["broken"].data_sets == 0
    assert math.isnan(result["broken"].normalised_mean)
    assert math.isnan(result["broken"].average_rank)
    assert math.isnan(result["broken"].distance_to_best)


def test_equals_are_all_best():
    result = aggregate({name: {"scenes": (0.7, "max")} for name in "ab"})
    assert result["a"] == result["b"]
    assert result["a"].normalised_mean == 1
    assert result["a"].average_rank == 1.5
    assert result["a"].distance_to_best == 0


@settings(deadline=None)
@given(
    st.dictionaries(
        st.sampled_from("abcde"),
        st.dictionaries(st.sampled_from("xyz"), st.floats(0.01, 1)),
        min_size=1,
    ),
    st.sampled_from(["max", "min"]),
)
def test_contract(table, direction):
    scores = {
        encoder: {name: (value, direction) for name, value in given.items()}
        for encoder, given in table.items()
    }
    result = aggregate(scores)
    assert list(result) == list(scores)
    for row in result.values():
        assert row.data_sets <= row.of
        if row.data_sets:
            assert 0 <= row.normalised_mean <= 1
            assert 1 <= row.average_rank <= len(scores)
            assert row.distance_to_best >= 0


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        ({"a": {"x": (math.nan, "max")}}, "x: the score of a is nan; leave out"),
        ({"a": {"x": (1.0, "max")}, "b": {"x": (1.0, "min")}}, "x: directions are max, min"),
        ({"a": {"x": (1.0, "up")}}, "x: directions are up"),
    ],
)
def test_bad_tables_are_named(scores, said):
    with pytest.raises(InputError, match=said):
        aggregate(scores)
