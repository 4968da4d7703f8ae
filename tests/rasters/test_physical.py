"""`check_physical`: wrong units are refused, extreme but real scenes are not."""

import numpy as np
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st

from rasters import RasterImage, check_physical
from sensors import InputError, load_sensor

RED, NIR = load_sensor("sentinel-2-l2a").select("B04", "B08")
VV, VH = load_sensor("sentinel-1-grd").select("VV", "VH")
THERMAL = load_sensor("landsat-8-c2-l2")["ST_B10"]
GREY = load_sensor("rgb-aerial")["R"]


def image_of(values, *bands):
    pixels = np.asarray(values, dtype=np.float32).reshape(len(bands), 1, -1)
    return RasterImage(pixels, np.ones(pixels.shape, dtype=bool), bands, Affine.identity())


def noise(low, high, count=400, seed=0):
    return np.random.default_rng(seed).uniform(low, high, count)


@pytest.mark.parametrize(
    ("values", "band", "message"),
    [
        (noise(300, 3000), RED, "median 1[0-9.]+ where 0..1 is declared.*set scale: 0.0001"),
        (noise(7000, 40_000), NIR, "2.75e-05 with offset: -0.2 for Landsat"),
        (noise(0, 255), GREY, r"set scale: 0.00392157 \(1/255\)"),
        (noise(0, 255), RED, r"set scale: 0.00392157 \(1/255\)"),
        (noise(-0.2, -0.1), RED, "median of -0.1[0-9]+ where 0..1 is declared"),
        (noise(5, 35), THERMAL, "not of this Earth.*offset: 273.15"),
        (noise(2700, 3100), THERMAL, "not scaled"),
        (noise(0.01, 0.4), VV, r"linear power.*10 \* log10"),
        (noise(50, 900), VH, "digital numbers"),
    ],
)
def test_other_units_are_refused_with_what_to_set(values, band, message):
    with pytest.raises(InputError, match=message):
        check_physical(image_of(values, band))


def test_one_unscaled_band_among_good_ones_is_named():
    with pytest.raises(InputError, match="band B08: median"):
        check_physical(image_of([noise(0, 0.3), noise(100, 3000)], RED, NIR))


@settings(max_examples=50, deadline=None)
@given(
    low=st.floats(-0.03, 1.0),
    spread=st.floats(0, 1.2),
    broken=st.floats(0, 0.2),
    junk=st.sampled_from([-999.0, 6.5, 65535.0, 3e30]),
)
def test_dark_water_snow_cloud_glint_and_broken_pixels_pass(low, spread, broken, junk):
    values = noise(low, low + spread)
    values[: int(broken * values.size)] = junk
    check_physical(image_of(values, RED))


@pytest.mark.parametrize(
    ("values", "band"),
    [
        (noise(-30, -5), VV),
        (noise(-4, 12), VV),  # a city, seen near
        (noise(180, 230), THERMAL),  # cold cloud tops
        (noise(300, 345), THERMAL),  # a hot desert
        (np.zeros(100), VV),  # filled with 0, not declared as nodata
        (np.zeros(100), RED),
        (noise(0.1, 8, count=20), VV),  # a ship
    ],
)
def test_extremes_that_occur_pass(values, band):
    check_physical(image_of(values, band))


def test_only_valid_pixels_count():
    image = image_of(noise(300, 3000), RED)
    image.valid[:] = False
    check_physical(image)


def test_a_large_image_is_judged_by_a_sample_of_all_of_it():
    pixels = np.full((1, 600, 900), 0.2, dtype=np.float32)
    pixels[:, 300:] = 2500
    valid = np.ones(pixels.shape, dtype=bool)
    with pytest.raises(InputError, match="not scaled"):
        check_physical(RasterImage(pixels, valid, (RED,), Affine.identity()))
