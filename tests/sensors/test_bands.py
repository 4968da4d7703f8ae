import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensors import Band, InputError, SarChannel, channel_from_dict, channel_to_dict

red = Band("B04", 0.6646, 0.031, gsd=10, common_name="red", scale=1e-4, nodata=0)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"center_wavelength": 664.6}, "give micrometres"),
        ({"full_width_half_max": 31}, "not a width in micrometres"),
        ({"full_width_half_max": 0}, "not a width in micrometres"),
        ({"quantity": "backscatter"}, "not one of reflectance, brightness, temperature"),
        ({"quantity": "temperature"}, "3 um or more"),
        ({"gsd": -10}, "not a distance in metres"),
        ({"scale": 0}, "would erase every pixel"),
        ({"offset": math.nan}, "expected a finite number"),
        ({"nodata": math.nan}, "NaN is never data"),
        ({"name": ""}, "needs a name"),
    ],
)
def test_a_band_with_a_number_outside_its_unit_is_refused(fields, message):
    good = {"name": "B04", "center_wavelength": 0.6646, "full_width_half_max": 0.031}
    Band(**good)
    with pytest.raises(InputError, match=message):
        Band(**good | fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"polarization": "vv"}, "not one of VV, VH, HH, HV"),
        ({"center_frequency": 5.405e9}, "give GHz"),
        ({"quantity": "reflectance"}, "measures backscatter"),
    ],
)
def test_a_radar_channel_with_a_number_outside_its_unit_is_refused(fields, message):
    good = {"name": "VV", "polarization": "VV", "center_frequency": 5.405}
    SarChannel(**good)
    with pytest.raises(InputError, match=message):
        SarChannel(**good | fields)


def test_equality_is_physics_and_ignores_how_numbers_are_stored():
    other = Band("B04", 0.6646, 0.031, gsd=10, common_name="red", scale=1, offset=-0.1, nodata=-1)
    assert red == other
    assert hash(red) == hash(other)
    assert red != Band("B04", 0.6649, 0.031, gsd=10, common_name="red")


def test_units_and_descriptions():
    hot = Band("ST_B10", 10.895, 0.59, quantity="temperature")
    assert (red.unit, hot.unit, SarChannel("VV", "VV", 5.405).unit) == ("1", "K", "dB")
    assert red.describe() == "B04 (0.6646 um, FWHM 0.031 um, reflectance)"
    assert SarChannel("VV", "VV", 5.405).describe() == "VV (VV at 5.405 GHz)"


bands = st.builds(
    Band,
    name=st.text(min_size=1, max_size=8),
    center_wavelength=st.floats(0.3, 15),
    full_width_half_max=st.floats(0.001, 0.5),
    gsd=st.none() | st.floats(0.1, 1000),
    common_name=st.none() | st.sampled_from(["red", "nir"]),
    scale=st.floats(1e-5, 1),
    offset=st.floats(-1, 300),
    nodata=st.none() | st.integers(-32768, 65535),
)
radar = st.builds(
    SarChannel,
    name=st.text(min_size=1, max_size=8),
    polarization=st.sampled_from(["VV", "VH", "HH", "HV"]),
    center_frequency=st.floats(0.4, 36),
    gsd=st.none() | st.floats(0.1, 1000),
)


@given(bands | radar)
def test_a_channel_survives_json(channel):
    record = json.loads(json.dumps(channel_to_dict(channel)))
    again = channel_from_dict(record)
    assert again == channel
    assert (again.scale, again.offset, again.nodata) == (
        channel.scale,
        channel.offset,
        channel.nodata,
    )


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"kind": "lidar", "name": "x"}, "not one of optical, radar"),
        ({"kind": "optical", "name": "x", "colour": "red"}, "channel x: .*colour"),
        ({"kind": "optical", "name": "x"}, "channel x: .*center_wavelength"),
        ({"kind": "radar", "name": "VV", "polarization": "XX", "center_frequency": 5.4}, "XX"),
    ],
)
def test_a_record_that_is_no_channel_is_refused(record, message):
    with pytest.raises(InputError, match=message):
        channel_from_dict(record)
