"""What nodes say of their data, and the network that follows."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federation.description import Description, agree, build_spec, find_difference
from sensors import load_sensor
from sensors.errors import InputError
from specialists.config import SpecialistConfig

BANDS = load_sensor("sentinel-2-l2a").select("B04", "B03", "B02")
LANDSAT = load_sensor("landsat-8-c2-l2").select("SR_B4", "SR_B3")


def sums(values):
    return (float(len(values)), float(np.sum(values)), float(np.sum(np.square(values))))


def description(bands=BANDS, classes=("land", "water"), pixels=None):
    shared = () if pixels is None else tuple(sums(pixels) for _ in bands)
    return Description(
        task="scene-classification",
        classes=classes,
        multi_label=False,
        per_pixel=False,
        gsd=10.0,
        chip_size=16,
        bands=tuple(bands),
        band_sums=shared,
    )


def test_what_is_said_arrives():
    said = description(pixels=[0.1, 0.4])
    assert Description.from_json(said.to_json()) == said


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"bands": 3}', '{"bands": [{"name": "x"}]}'])
def test_what_cannot_be_read_is_refused(text):
    with pytest.raises(InputError, match="cannot be read"):
        Description.from_json(text)


@settings(max_examples=50)
@given(
    st.lists(
        st.lists(st.floats(-100, 400, allow_nan=False), min_size=1, max_size=20),
        min_size=1,
        max_size=5,
    )
)
def test_pooled_statistics_are_those_of_all_pixels(parts):
    found = build_spec(
        description(), [description(pixels=part) for part in parts], SpecialistConfig(), None
    )
    pixels = np.concatenate(parts)
    np.testing.assert_allclose(found.mean, pixels.mean(), rtol=1e-9, atol=1e-9)
    if pixels.std() > 1e-3:
        np.testing.assert_allclose(found.std, pixels.std(), rtol=1e-5)


def test_bands_of_all_sensors_come_together():
    twin = replace(LANDSAT[0], name="B04")
    nodes = [
        description(pixels=[0.0, 1.0]),
        description(LANDSAT, pixels=[2.0, 4.0]),
        description((twin,), pixels=[6.0]),
    ]
    spec = build_spec(nodes[0], nodes, SpecialistConfig(stem="wavelength"), None)
    assert [band.name for band in spec.bands] == ["B04", "B03", "B02", "SR_B4", "SR_B3"]
    assert spec.mean[:3] == (0.5,) * 3
    assert spec.mean[3:] == (4.0, 3.0)


def test_most_nodes_decide_and_a_tie_does_not():
    many, few = description(), description(classes=("a", "b"))
    assert agree({1: many, 2: few, 3: many}, None) == many
    assert agree({1: many, 2: many}, few) == few
    with pytest.raises(InputError, match="do not agree"):
        agree({1: many, 2: few}, None)
    with pytest.raises(InputError, match="no node"):
        agree({}, None)


def test_differences_are_named():
    agreed = description()
    assert find_difference(agreed, agreed, any_bands=False) is None
    other = description(classes=("water", "land"))
    assert "of water, land" in find_difference(other, agreed, any_bands=True)
    landsat = description(LANDSAT)
    assert "SR_B4" in find_difference(landsat, agreed, any_bands=False)
    assert find_difference(landsat, agreed, any_bands=True) is None


def test_without_sums_someone_must_have_measured():
    with pytest.raises(InputError, match="normalization=shared"):
        build_spec(description(), [description()], SpecialistConfig(), None)
