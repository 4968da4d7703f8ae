import numpy as np
import pytest

from evaluation.cells import depends_on_seed, dropped_bands, serves, translate
from evaluation.config import load_protocol
from evaluation.dataset import load_data
from evaluation.tasks import Task
from sensors import InputError, load_sensor
from specialists.named_data import load_data_config

SCENES = Task("scene-classification", ("a", "b", "c"))
PIXELS = Task("semantic-segmentation", ("a", "b", "c"))


@pytest.fixture(scope="module")
def load(toy_data, toy_configs):
    return lambda name: load_data(load_data_config(name, str(toy_data), toy_configs))


def protocol(base, **changes):
    return load_protocol({"base": base, "name": "changed", **changes})[1]


def test_bands_are_dropped_by_wavelength_and_by_name():
    bands = load_sensor("sentinel-2-l2a").channels + load_sensor("sentinel-1-grd").channels
    without_swir = load_protocol("linear_without_swir")[1]
    assert dropped_bands(without_swir, bands) == ("B11", "B12")
    both = protocol("linear_without_swir", drop_bands=["VV", "nothing"])
    assert dropped_bands(both, bands) == ("B11", "B12", "VV")


def test_probes_serve_scenes_or_pixels(load):
    scenes, masks = load("toy_scenes"), load("toy_masks")
    for name in ("knn", "linear"):
        assert serves(load_protocol(name)[1], scenes)
        assert not serves(load_protocol(name)[1], masks)
    assert serves(load_protocol("pixel_linear")[1], masks)


def test_protocols_that_change_nothing_are_left_out(load):
    scenes = load("toy_scenes")  # brightness of red, green and blue
    assert not serves(load_protocol("linear_without_swir")[1], scenes)
    assert serves(load_protocol("linear_without_blue")[1], scenes)
    assert not serves(load_protocol("linear_as_landsat8")[1], scenes)
    assert not serves(protocol("linear", test_data="toy_scenes"), scenes)


def test_seed_matters_where_something_is_drawn():
    assert not depends_on_seed(load_protocol("linear")[1])
    assert depends_on_seed(load_protocol("linear_10")[1])
    assert depends_on_seed(load_protocol("pixel_linear")[1])


def test_classes_are_translated_by_name():
    other = Task("scene-classification", ("c", "a"))
    assert translate(np.array([0, 1, 1]), other, SCENES).tolist() == [2, 0, 0]
    masks = Task("semantic-segmentation", ("c", "a"))
    assert translate(np.array([[[0, 255]]]), masks, PIXELS).tolist() == [[[2, 255]]]
    flags = Task("scene-classification", ("c", "a"), multi_label=True)
    own = Task("scene-classification", ("a", "b", "c"), multi_label=True)
    assert translate(np.array([[1, 0]]), flags, own).tolist() == [[0, 0, 1]]


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (Task("scene-classification", ("a", "z")), "classes z"),
        (PIXELS, "test_data is for semantic-segmentation"),
    ],
)
def test_other_classes_are_refused(other, message):
    with pytest.raises(InputError, match=message):
        translate(np.array([0]), other, SCENES)


def test_data_without_a_test_split_is_refused(toy_data, toy_configs):
    config = load_data_config("toy_scenes", str(toy_data), toy_configs)
    config.split.fractions = {"selection": 0.25}
    with pytest.raises(InputError, match="no test split"):
        load_data(config)
