import io
from contextlib import redirect_stderr
from time import sleep

import pytest

from rasters.progress import show_progress

PAUSE = 0.06  # seconds; the screen is drawn ten times a second


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    return Terminal()


def test_items_come_through_in_order(terminal):
    seen = []
    with redirect_stderr(terminal):
        for letter in show_progress(iter("abc"), "Letters", 3):
            seen.append(letter)
            sleep(PAUSE)
    assert seen == ["a", "b", "c"]
    assert "Letters" in terminal.getvalue()


def test_an_inner_bar_joins_the_outer_one(terminal):
    with redirect_stderr(terminal):
        for _ in show_progress(range(2), "Outer"):
            for _ in show_progress(range(3), "Inner"):
                sleep(PAUSE)
    assert "Outer" in terminal.getvalue()
    assert "Inner" in terminal.getvalue()


def test_a_bar_left_early_makes_room_for_the_next(terminal):
    with redirect_stderr(terminal):
        for item in show_progress(range(5), "First"):
            if item == 2:
                break
        broken = ((1 // (3 - item)) for item in show_progress(range(5), "Second"))
        with pytest.raises(ZeroDivisionError):
            list(broken)
        assert list(show_progress(range(2), "Third")) == [0, 1]


@pytest.mark.parametrize("visible", [True, False])
def test_nothing_is_drawn_where_nobody_looks(visible, terminal):
    screen = io.StringIO() if visible else terminal
    with redirect_stderr(screen):
        assert list(show_progress(range(3), "Quiet", visible=visible)) == [0, 1, 2]
    assert screen.getvalue() == ""
