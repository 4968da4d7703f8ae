"""Band statistics: those of all valid pixels at once, however they come."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rasters import ChipDataset, measure_statistics

L1C = "sentinel-2-l1c"


@pytest.fixture
def chips(write_file):
    rng = np.random.default_rng(0)
    for number in range(6):
        stored = rng.integers(1, 4000, (3, 5 + number, 7)).astype(np.uint16)
        stored[:2][rng.random(stored[:2].shape) < 0.2] = 0  # no data
        stored[2] = 0  # a dead band
        path = write_file(f"set/{'ab'[number % 2]}/{number}.tif", stored)
    return ChipDataset.from_folders(path.parents[1], sensor=L1C, bands=["B02", "B03", "B04"])


def all_pixels(chips, band, indices):
    items = [chips[index] for index in indices]
    values = [item["image"][band][item["valid"][band]].numpy() for item in items]
    return np.concatenate(values).astype(np.float64)


def test_they_are_those_of_all_valid_pixels(chips):
    measured = measure_statistics(chips)
    assert measured.bands == chips.bands
    for band in (0, 1):
        pixels = all_pixels(chips, band, range(len(chips)))
        assert measured.count[band] == pixels.size
        assert measured.mean[band] == pytest.approx(pixels.mean(), rel=1e-12)
        assert measured.std[band] == pytest.approx(pixels.std(), rel=1e-12)


def test_a_band_without_a_valid_pixel_can_still_be_normalised(chips):
    measured = measure_statistics(chips)
    assert (measured.count[2], measured.mean[2], measured.std[2]) == (0, 0.0, 1.0)


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(indices=st.lists(st.integers(0, 5), min_size=1, unique=True), order=st.randoms())
def test_only_the_chosen_chips_count_in_any_order(chips, indices, order):
    measured = measure_statistics(chips, indices)
    shuffled = list(indices)
    order.shuffle(shuffled)
    assert measure_statistics(chips, shuffled) == measured
    pixels = all_pixels(chips, 0, indices)
    assert measured.mean[0] == pytest.approx(pixels.mean(), rel=1e-12)


def test_small_deviations_on_a_large_mean_are_kept(write_file):
    kelvin = 300 + np.random.default_rng(0).normal(0, 1e-2, (1, 64, 64))
    stored = (kelvin * 100_000).astype(np.int32)
    path = write_file("hot/a/ST_B10.tif", stored)
    chips = ChipDataset.from_folders(path.parents[1], sensor="landsat-8-c2-l2", scale=1e-5)
    expected = chips[0]["image"].double().std(correction=0)
    assert measure_statistics(chips).std[0] == pytest.approx(float(expected), rel=1e-9)


def test_no_bar_is_drawn_where_there_is_no_terminal(chips, capsys):
    measure_statistics(chips)
    assert capsys.readouterr() == ("", "")
