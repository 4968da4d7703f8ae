"""The meter of electricity: silent, local, leaving nothing behind, and never in the way."""

import logging
import socket
import sys
import tempfile
import time

import pytest

from specialists.energy import EnergyMeter


def _work(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


@pytest.fixture
def empty_folders(tmp_path, monkeypatch):
    """Working and temporary folder of a process that should write to neither."""
    for name in ("here", "temporary"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    return tmp_path


@pytest.fixture
def network(monkeypatch):
    """Whatever host or address is asked for; none is reached."""
    asked = []

    def refuse(*arguments, **_):
        asked.append(arguments)
        raise OSError("no network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    return asked


def test_more_work_takes_more_and_nothing_is_said_sent_or_left(
    empty_folders, network, capfd, monkeypatch
):
    monkeypatch.setenv("CODECARBON_SAVE_TO_API", "true")
    monkeypatch.setenv("CODECARBON_EMISSIONS_ENDPOINT", "http://example.org")
    with EnergyMeter() as meter:
        _work(0.5)
        half = meter.read()
        _work(0.5)
    whole = meter.read()
    assert 0 < half.kwh < whole.kwh
    assert whole.method.startswith("codecarbon ")
    assert "processor" in whole.method
    time.sleep(1.1)  # as long as the period of its background thread
    assert meter.read() == whole
    assert capfd.readouterr() == ("", "")
    assert network == []
    assert [path.name for path in empty_folders.rglob("*")] == ["here", "temporary"]


def test_power_of_the_processor_can_be_told(monkeypatch):
    monkeypatch.setenv("CODECARBON_FORCE_CPU_POWER", "1000")
    monkeypatch.setenv("CODECARBON_FORCE_RAM_POWER", "0")
    with EnergyMeter() as meter:
        start = time.process_time()
        _work(1.0)
        seconds = time.process_time() - start
    energy = meter.read()
    if "RAPL" not in energy.method:
        import psutil

        assert "1000 W" in energy.method
        expected = 1000 * seconds / psutil.cpu_count() / 3.6e6
        assert energy.kwh == pytest.approx(expected, rel=0.3)


def test_only_the_stretch_is_counted():
    with EnergyMeter() as before:
        _work(0.5)
    with EnergyMeter() as meter:
        pass
    assert meter.read().kwh < 0.5 * before.read().kwh


def test_meter_that_cannot_start_says_why_and_stops_nothing(monkeypatch):
    monkeypatch.setitem(sys.modules, "codecarbon", None)
    with EnergyMeter() as meter:
        _work(0.01)
    energy = meter.read()
    assert energy.kwh is None
    assert energy.method.startswith("codecarbon did not start")


def test_broken_settings_of_codecarbon_stop_nothing(monkeypatch, caplog):
    monkeypatch.setenv("CODECARBON_FORCE_CPU_POWER", "much")
    monkeypatch.setenv("CODECARBON_MEASURE_POWER_SECS", "often")
    with EnergyMeter() as meter, caplog.at_level(logging.DEBUG):
        _work(0.01)
    energy = meter.read()
    assert energy.method
    assert energy.kwh is None or energy.kwh >= 0


def test_unused_meter_has_no_reading():
    meter = EnergyMeter()
    meter.stop()
    assert meter.read().kwh is None
