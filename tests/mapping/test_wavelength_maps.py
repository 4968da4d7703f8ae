"""Maps by a specialist whose stem takes any bands that it knows."""

from dataclasses import replace

import numpy as np
import pytest
import rasterio
import torch

from mapping import predict_map
from rasters import write_raster
from sensors import MissingBandsError, load_sensor
from specialists import save_weights


@pytest.fixture
def specialist(make_specialist):
    return make_specialist(stem="wavelength", decoder="linear")


@pytest.fixture
def predict(tmp_path, specialist):
    """Map an image of one window: the map."""

    def run(image):
        write_raster(tmp_path / "scene.tif", image)
        out = tmp_path / "map.tif"
        predict_map(tmp_path / "scene.tif", specialist, out, overlap=0.0, progress=False)
        with rasterio.open(out) as dataset:
            return dataset.read(1)

    return run


def answer(specialist, image):
    x_BCHW, valid = (torch.from_numpy(part[None]) for part in (image.pixels, image.valid))
    return specialist.predict(x_BCHW, image.bands, valid)[0].argmax(0).numpy()


def test_a_scene_with_all_bands_is_mapped_without_a_word(make_image, predict, specialist, recwarn):
    image = make_image(32, 32)
    assert np.array_equal(predict(image), answer(specialist, image))
    assert not [warning for warning in recwarn if "knows" in str(warning.message)]


def test_a_scene_with_a_part_of_the_bands_is_mapped(make_image, bands, predict, specialist):
    image = make_image(32, 32, bands=bands[2:0:-1])
    with pytest.warns(UserWarning, match="nothing like blue, nir.*from red, green"):
        found = predict(image)
    assert np.array_equal(found, answer(specialist, image))


def test_a_scene_of_another_sensor_is_mapped_by_its_own_bands(make_image, predict, specialist):
    landsat = load_sensor("landsat-8-c2-l2").channels
    image = make_image(32, 32, bands=landsat[1:5])
    found = predict(image)
    assert np.array_equal(found, answer(specialist, image))
    as_known = replace(image, bands=specialist.bands)
    assert not np.array_equal(found, answer(specialist, as_known))


def test_a_pixel_is_mapped_where_any_band_has_data(make_image, predict):
    valid = np.ones((4, 32, 32), bool)
    valid[0, :10], valid[:, :3] = False, False
    assert np.array_equal(predict(make_image(32, 32, valid=valid)) == 255, ~valid.any(0))


def test_a_scene_of_unknown_bands_is_refused(make_image, radar_bands, predict):
    with pytest.raises(MissingBandsError, match=r"VV .*known .blue"):
        predict(make_image(32, 32, bands=radar_bands))


@pytest.mark.parametrize(("backend", "code"), [("torch", 0), ("openvino", 2)])
def test_the_command_maps_a_part_of_the_bands(
    make_image, bands, specialist, tmp_path, run_command, backend, code
):
    if backend == "openvino":
        pytest.importorskip("openvino")
    write_raster(tmp_path / "scene.tif", make_image(32, 32, bands=bands[:3]))
    save_weights(specialist, tmp_path / "weights.safetensors")
    out = tmp_path / "map.tif"
    options = ("--specialist", tmp_path / "weights.safetensors", "--out", out, "--backend", backend)
    found, _, errors = run_command(tmp_path / "scene.tif", *options)
    assert found == code
    assert "nir" in errors  # warned of, or missed
    assert out.exists() is (code == 0)
