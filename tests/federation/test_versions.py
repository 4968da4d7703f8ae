"""Which versions of Flower are worked with."""

import pytest

from federation import versions
from federation.versions import check_flower
from sensors.errors import InputError


def pretend(monkeypatch, number):
    monkeypatch.setattr(versions, "version", lambda package: number)


@pytest.mark.parametrize("number", ["1.41", "1.41.3", "1.99.0"])
def test_one_that_fits(monkeypatch, number):
    pretend(monkeypatch, number)
    check_flower()
    check_flower("1.50.0")


@pytest.mark.parametrize("number", ["1.40.9", "2.0.0"])
def test_one_that_does_not(monkeypatch, number):
    pretend(monkeypatch, number)
    with pytest.raises(InputError, match=rf"Flower {number} runs here, and 1.41 up to .* pip"):
        check_flower()


def test_another_one_at_the_server():
    with pytest.raises(InputError, match=r"3\.0\.0 at the server: .* pip install 'flwr~=3\.0\.0'"):
        check_flower("3.0.0")
