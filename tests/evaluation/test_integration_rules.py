import math

import pytest

from evaluation.integration_rules import Gain, Rules, Trial, judge


def gain(value, low=None, high=None, task="t"):
    low = value - 0.01 if low is None else low
    high = value + 0.01 if high is None else high
    return Gain(task, "accuracy", 0.5, 0.5 + value, value, low, high)


NOTHING = gain(0.0)


@pytest.mark.parametrize(
    ("added", "action", "reason"),
    [
        ([gain(0.05), NOTHING], "add", "gains on t"),
        (
            [gain(0.05), gain(-0.05, task="u")],
            "reject",
            "interference: more than 0.005 is lost on u",
        ),
        ([NOTHING, NOTHING], "reject", "adds nothing measurable"),
        # A gain whose interval holds 0 is none, and such a loss is none either.
        ([gain(0.05, low=-0.01)], "reject", "adds nothing measurable"),
        ([gain(0.05), gain(-0.05, high=0.01)], "add", "gains on t"),
        # All of the interval must lie beyond the tolerance.
        ([gain(0.05), gain(-0.012, high=-0.004)], "add", "gains on t"),
        ([gain(0.05), gain(-0.012, high=-0.006)], "reject", "interference"),
        # One test sample says nothing, for or against.
        ([gain(1.0, math.nan, math.nan)], "reject", "adds nothing measurable"),
        ([gain(0.05), gain(-1.0, math.nan, math.nan)], "add", "gains on t"),
    ],
)
def test_a_member_beside_the_others(added, action, reason):
    verdict = judge(added, {}, Rules())
    assert (verdict.action, verdict.replaced) == (action, None)
    assert reason in verdict.reason


def test_means_decide_where_they_are_asked_to():
    rules = Rules(tolerance=0.01, min_gain=0.03, decide_by="mean")
    assert judge([gain(0.04, low=-1)], {}, rules).action == "add"
    assert judge([gain(0.02, low=0.01)], {}, rules).action == "reject"
    assert "interference" in judge([gain(0.04), gain(-0.02, high=1)], {}, rules).reason
    assert judge([gain(0.04), gain(-0.009)], {}, rules).action == "add"


def test_a_place_is_taken_where_the_old_member_is_not_missed():
    better, equal = [gain(0.05)], [gain(-0.004)]
    verdict = judge([gain(0.05)], {"old@1.0.0": Trial(better, equal)}, Rules())
    assert (verdict.action, verdict.replaced) == ("replace", "old@1.0.0")
    assert "without old@1.0.0 the ensemble is nowhere worse" in verdict.reason
    missed = Trial(better, [gain(-0.006)])
    assert judge([gain(0.05)], {"old@1.0.0": missed}, Rules()).action == "add"
    second = {"old@1.0.0": missed, "other@1.0.0": Trial(better, equal)}
    assert judge([gain(0.05)], second, Rules()).replaced == "other@1.0.0"


def test_a_useless_member_takes_nobodys_place():
    trial = Trial([NOTHING], [NOTHING])
    assert judge([NOTHING], {"old@1.0.0": trial}, Rules()).action == "reject"


def test_one_that_harms_beside_an_old_member_may_take_its_place():
    trial = Trial([gain(0.05)], [gain(0.1)])
    verdict = judge([gain(-0.05)], {"old@1.0.0": trial}, Rules())
    assert (verdict.action, verdict.replaced) == ("replace", "old@1.0.0")
    assert "beside old@1.0.0 it does not pass" in verdict.reason
    harmful = Trial([gain(0.05), gain(-0.05, task="u")], [gain(0.1)])
    assert judge([gain(-0.05)], {"old@1.0.0": harmful}, Rules()).action == "reject"
