"""Doubts about specialists that are put together."""

import logging

from router.compatibility import doubts, report_doubts
from router.ensemble import Ensemble
from tests.registry.conftest import make_card
from tests.registry.conftest import make_spec as make_specialist_spec


def card(name, licence="Apache-2.0", classes=None, **changes):
    spec = make_specialist_spec(**({"classes": classes} if classes else {}))
    return make_card(spec, name=name, license=licence, **changes)


def test_like_members_leave_no_doubt():
    assert doubts([card("one"), card("two")]) == ()


def test_contradictory_licences_are_named():
    (doubt,) = doubts([card("one"), card("two", "CC-BY-NC-SA-4.0")])
    assert "CC-BY-NC-SA-4.0" in doubt
    (doubt,) = doubts([card("one"), card("two", "other")])
    assert "licence of two@" in doubt
    assert doubts([card("one", "other"), card("two", "other")]) == ()


def test_classes_that_agree_in_part_are_named():
    first = card("one", classes=("forest", "water", "town"))
    second = card("two", classes=("water", "forest", "field"))
    (doubt,) = doubts([first, second])
    assert "one@" in doubt
    assert "forest, water" in doubt
    assert doubts([first, card("two", classes=("cat", "dog", "cow"))]) == ()


def test_doubts_are_told_at_composing(caplog):
    with caplog.at_level(logging.WARNING):
        report_doubts([card("one"), card("two", "GPL-3.0-only")], None)
    assert "GPL-3.0-only" in caplog.text
    assert Ensemble.compose
