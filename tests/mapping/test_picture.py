from dataclasses import replace

import matplotlib.image
import numpy as np
import pytest

from mapping import predict_map
from mapping.picture import picture_bands, render_scene
from rasters import write_raster
from sensors import load_sensor


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


def test_one_band_is_grey(make_image, bands):
    rgb, words = render_scene(make_image(bands=bands[3:]))
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


@pytest.mark.parametrize("shape", [(60, 70), (60, 200), (150, 20), (1, 1)])
@pytest.mark.parametrize("task", ["semantic-segmentation", "regression"])
def test_picture_shows_scene_and_map(make_image, make_specialist, tmp_path, shape, task):
    write_raster(tmp_path / "scene.tif", make_image(*shape))
    specialist = make_specialist(task=task, per_pixel=task == "regression")
    result = predict_map(
        tmp_path / "scene.tif",
        specialist,
        tmp_path / "map.tif",
        picture=tmp_path / "map.png",
        progress=False,
    )
    assert result.picture_path == tmp_path / "map.png"
    picture = matplotlib.image.imread(tmp_path / "map.png")
    assert picture.shape[0] > 200
    assert picture.std() > 0.05


def test_scene_without_crs_has_no_scale_bar_but_a_picture(make_image, make_specialist, tmp_path):
    write_raster(tmp_path / "scene.tif", replace(make_image(), crs=None))
    with pytest.warns(UserWarning, match="no CRS"):
        predict_map(
            tmp_path / "scene.tif",
            make_specialist(),
            tmp_path / "map.tif",
            picture=tmp_path / "map.png",
            progress=False,
        )
    assert (tmp_path / "map.png").exists()
