"""Which step a budget takes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.pruning.budget import TOLERATED, Budget, Point
from sensors import InputError

DROPS = (0.0, -0.01, 0.004, 0.03)
POINTS = [
    Point(4 - number, drop, (4 - number) * 100, (4 - number) * 1000, (4 - number) * 10.0)
    for number, drop in enumerate(DROPS)
]


@pytest.mark.parametrize(
    ("budget", "expected"),
    [
        (Budget(), 2),
        (Budget(drop=0), 1),
        (Budget(drop=0.1), 3),
        (Budget(parameters=400), 1),
        (Budget(macs=2500), 2),
        (Budget(latency_ms=10), 3),
        (Budget(latency_ms=35, drop=0), 1),
    ],
)
def test_the_step_that_meets_it(budget, expected):
    assert budget.choose(POINTS) == expected


def test_where_nothing_is_asked_half_a_point_may_be_lost():
    assert Budget().drop == TOLERATED == 0.005
    assert Budget(macs=1).drop is None


def test_what_cannot_be_met_says_how_near_it_came():
    with pytest.raises(InputError) as caught:
        Budget(macs=1000, drop=0.001).choose(POINTS)
    text = str(caught.value)
    assert "a loss of at most 0.001, at most 1000 multiply-adds an image" in text
    assert "the best that is cheap enough has 1 members, a loss of 0.0300" in text
    assert "the cheapest that is good enough has 3 members, a loss of -0.0100" in text
    with pytest.raises(InputError, match="the cheapest choice found has 1 members"):
        Budget(parameters=5).choose(POINTS)


@pytest.mark.parametrize("settings", [{"drop": -0.1}, {"macs": 0}, {"latency_ms": -1.0}])
def test_budgets_that_mean_nothing_are_refused(settings):
    with pytest.raises(InputError, match=f"budget.{next(iter(settings))}"):
        Budget(**settings)


@given(
    drops=st.lists(st.floats(-0.1, 0.5), min_size=1, max_size=8),
    tolerated=st.floats(0, 0.3),
    limit=st.integers(1, 9),
)
def test_what_is_taken_meets_every_limit(drops, tolerated, limit):
    points = [
        Point(len(drops) - number, drop if number else 0.0, len(drops) - number, 1, 1.0)
        for number, drop in enumerate(drops)
    ]
    try:
        chosen = points[Budget(drop=tolerated, parameters=limit).choose(points)]
    except InputError:
        assert not any(p.parameters <= limit and p.drop <= tolerated for p in points)
        return
    assert chosen.parameters <= limit
    assert chosen.drop <= tolerated + 1e-6
