import numpy as np
import pytest
from affine import Affine
from rasterio.crs import CRS

from rasters import RasterImage
from rasters.picture import picture_bands, render_scene
from sensors import Band, load_sensor

BANDS = (
    Band("blue", 0.49, 0.06),
    Band("green", 0.56, 0.04),
    Band("red", 0.665, 0.03),
    Band("nir", 0.842, 0.1),
)


@pytest.fixture
def make_image():
    def make(height=60, width=70, *, bands=BANDS, valid=None):
        pixels = np.random.default_rng(0).random((len(bands), height, width), np.float32)
        mask = np.ones(pixels.shape, bool) if valid is None else valid
        mask = np.broadcast_to(mask, pixels.shape)
        place = Affine(10, 0, 399960, 0, -10, 5900040)
        return RasterImage(np.where(mask, pixels, 0), mask, bands, place, CRS.from_epsg(32633))

    return make


def test_true_colour_where_there_is_red_green_and_blue(make_image):
    rgb, words = render_scene(make_image(20, 30))
    assert rgb.shape == (20, 30, 3)
    assert 0 <= rgb.min() <= rgb.max() <= 1
    assert "true colour" in words


@pytest.mark.parametrize("sensor", ["sentinel-2-l1c", "landsat-8-c2-l2", "naip", "rgb-aerial"])
def test_every_optical_sensor_shows_true_colour(sensor):
    assert [band.name for band in picture_bands(load_sensor(sensor).channels)] == [
        "red",
        "green",
        "blue",
    ]


def test_radar_shows_both_polarisations_and_their_difference(make_image):
    radar = load_sensor("sentinel-1-grd").select("VV", "VH")
    rgb, words = render_scene(make_image(bands=radar))
    assert rgb.shape == (60, 70, 3)
    assert "VV - VH" in words


def test_one_band_is_grey(make_image):
    rgb, words = render_scene(make_image(bands=BANDS[3:]))
    assert np.array_equal(rgb[..., 0], rgb[..., 2])
    assert "nir" in words


def test_pixels_without_data_are_light_grey(make_image):
    valid = np.ones((4, 60, 70), bool)
    valid[:, :5] = False
    rgb, _ = render_scene(make_image(valid=valid))
    assert (rgb[:5] == rgb[0, 0, 0]).all()
    assert 0.8 < rgb[0, 0, 0] < 1
    empty, _ = render_scene(make_image(valid=np.zeros((1, 1, 1), bool)))
    assert (empty == rgb[0, 0, 0]).all()
