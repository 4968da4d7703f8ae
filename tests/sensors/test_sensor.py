from itertools import pairwise

import pytest
import rasterio

from sensors import Band, InputError, SarChannel, list_sensors, load_sensor

EXPECTED = {
    "enmap-l2a": 224,
    "gaofen-2-pms": 4,
    "hls-l30": 7,
    "hls-s30": 7,
    "landsat-5-tm": 7,
    "landsat-7-etm": 7,
    "landsat-8-c2-l2": 8,
    "landsat-9-c2-l2": 8,
    "modis-terra": 9,
    "naip": 4,
    "planetscope-8b": 8,
    "rgb-aerial": 3,
    "sentinel-1-grd": 2,
    "sentinel-2-l1c": 13,
    "sentinel-2-l2a": 12,
}

# Where STAC EO puts its common names (micrometres).
COMMON_RANGES = {
    "coastal": (0.40, 0.45),
    "blue": (0.45, 0.53),
    "green": (0.50, 0.60),
    "green05": (0.51, 0.55),
    "yellow": (0.58, 0.62),
    "red": (0.62, 0.69),
    "rededge071": (0.69, 0.73),
    "rededge075": (0.73, 0.76),
    "rededge078": (0.76, 0.79),
    "nir": (0.75, 1.00),
    "nir08": (0.75, 0.90),
    "nir09": (0.85, 1.05),
    "cirrus": (1.35, 1.40),
    "swir16": (1.55, 1.75),
    "swir22": (2.05, 2.45),
    "lwir": (10.4, 12.5),
    "lwir11": (10.5, 11.5),
    "lwir12": (11.5, 12.5),
}


def test_the_catalogue_is_complete():
    assert {name: len(load_sensor(name).channels) for name in list_sensors()} == EXPECTED


@pytest.mark.parametrize("name", list_sensors())
def test_every_sensor_names_its_source_and_is_sane(name):
    sensor = load_sensor(name)
    assert sensor.name == name
    assert len(sensor.title) > 10
    assert any(mark in sensor.source for mark in ("http", "doi:", "Guide", "LSDS"))
    assert len({n.lower() for n in sensor.names}) == len(sensor.channels)
    for channel in sensor.channels:
        assert isinstance(channel, SarChannel if name.startswith("sentinel-1") else Band)
        assert sensor[channel.name.lower()] is channel
        if isinstance(channel, Band):
            assert 0.005 < channel.full_width_half_max < 0.25 * channel.center_wavelength
            if channel.common_name:
                low, high = COMMON_RANGES[channel.common_name]
                assert low <= channel.center_wavelength <= high


# Published numbers, independent of the catalogue's files.
@pytest.mark.parametrize(
    ("sensor", "band", "center", "width"),
    [
        ("sentinel-2-l2a", "B04", 0.665, 0.031),
        ("sentinel-2-l2a", "B8A", 0.865, 0.021),
        ("sentinel-2-l1c", "B10", 1.3735, 0.031),
        ("landsat-8-c2-l2", "SR_B5", 0.865, 0.028),
        ("landsat-8-c2-l2", "ST_B10", 10.895, 0.59),
        ("landsat-9-c2-l2", "SR_B2", 0.482, 0.060),
        ("landsat-5-tm", "SR_B4", 0.83, 0.14),
        ("landsat-7-etm", "SR_B7", 2.22, 0.26),
        ("hls-s30", "B8A", 0.865, 0.028),
        ("modis-terra", "B01", 0.645, 0.05),
        ("planetscope-8b", "red", 0.665, 0.03),
        ("gaofen-2-pms", "B4", 0.83, 0.12),
    ],
)
def test_known_responses(sensor, band, center, width):
    channel = load_sensor(sensor)[band]
    assert channel.center_wavelength == pytest.approx(center, abs=0.0015)
    assert channel.full_width_half_max == pytest.approx(width, abs=0.001)


@pytest.mark.parametrize(
    ("sensor", "band", "stored", "physical"),
    [
        ("sentinel-2-l2a", "B04", 1234, 0.1234),
        ("landsat-8-c2-l2", "SR_B4", 7273, 0.0),  # USGS: 7273 to 43636 is reflectance 0 to 1
        ("landsat-8-c2-l2", "SR_B4", 43636, 1.0),
        ("landsat-8-c2-l2", "ST_B10", 293, 150.0),  # USGS: valid from 293, 150 K
        ("landsat-7-etm", "ST_B6", 61440, 359.0),  # USGS: to 61440, 359 K
        ("modis-terra", "B31", 30000, 300.0),
        ("naip", "R", 255, 1.0),
        ("rgb-aerial", "R", 51, 0.2),
        ("gaofen-2-pms", "B1", 1023, 1.0),
    ],
)
def test_stored_numbers_become_physical(sensor, band, stored, physical):
    channel = load_sensor(sensor)[band]
    assert stored * channel.scale + channel.offset == pytest.approx(physical, abs=5e-3)


def test_uncalibrated_pictures_are_brightness():
    for name in ("naip", "rgb-aerial", "gaofen-2-pms"):
        assert {c.quantity for c in load_sensor(name).channels} == {"brightness"}


def test_sentinel_1():
    sensor = load_sensor("sentinel-1-grd")
    assert [c.polarization for c in sensor.channels] == ["VV", "VH"]
    assert {c.center_frequency for c in sensor.channels} == {5.405}


def test_the_detectors_of_enmap_overlap_and_say_which_one_a_band_belongs_to():
    sensor = load_sensor("enmap-l2a")
    vnir = [c for c in sensor.channels if c.name.startswith("VNIR")]
    swir = [c for c in sensor.channels if c.name.startswith("SWIR")]
    assert (len(vnir), len(swir)) == (91, 133)
    for detector in (vnir, swir):
        assert all(a.center_wavelength < b.center_wavelength for a, b in pairwise(detector))
    assert vnir[-1].center_wavelength > swir[0].center_wavelength
    assert sensor["band 92"] is swir[0]
    assert all(0.0055 < c.full_width_half_max < 0.0120 for c in sensor.channels)


def test_enmap_wavelengths_are_those_of_a_real_file(shared_data):
    path = min((shared_data / "enmap_potsdam" / "images").glob("*.tif"))
    with rasterio.open(path) as image:
        described = [text.split("(")[1].split()[0] for text in image.descriptions]
        assert image.nodata == load_sensor("enmap-l2a").channels[0].nodata
    ours = [c.center_wavelength for c in load_sensor("enmap-l2a").channels]
    assert ours == pytest.approx([float(text) / 1000 for text in described])


def test_bands_of_real_hls_files_are_found_by_description(shared_data):
    path = min((shared_data / "hls_water12" / "train" / "images").glob("*.tif"))
    with rasterio.open(path) as image:
        described = image.descriptions[:7]
    assert load_sensor("hls-l30").select(*described) == load_sensor("hls-l30").channels
    assert load_sensor("hls-s30").select(*described) == load_sensor("hls-s30").channels


@pytest.mark.parametrize(
    ("sensor", "spelling", "name"),
    [
        ("sentinel-2-l2a", "b1", "B01"),
        ("sentinel-2-l2a", " B8a ", "B8A"),
        ("sentinel-2-l2a", "B08A", "B8A"),
        ("sentinel-2-l2a", "Red", "B04"),
        ("sentinel-2-l2a", "nir", "B08"),
        ("landsat-8-c2-l2", "B4", "SR_B4"),
        ("landsat-8-c2-l2", "nir", "SR_B5"),
        ("planetscope-8b", "B7", "rededge"),
        ("naip", "red", "R"),
        ("enmap-l2a", "B57", "VNIR057"),
    ],
)
def test_spellings(sensor, spelling, name):
    assert load_sensor(sensor)[spelling].name == name
    assert spelling in load_sensor(sensor)


def test_an_unknown_band_lists_the_bands_there_are():
    sensor = load_sensor("sentinel-2-l2a")
    assert "B10" not in sensor
    with pytest.raises(InputError, match="sentinel-2-l2a has no band 'B10'; its bands are B01, B0"):
        sensor.select("B02", "B10")


def test_an_unknown_sensor_lists_the_sensors_there_are():
    with pytest.raises(InputError, match=r"no sensor 'sentinel-9' .*sentinel-2-l1c"):
        load_sensor("sentinel-9")


@pytest.mark.parametrize("name", ["sentinel-2-l1c", "sentinel-2-l2a"])
def test_sentinel_2_has_an_offset_from_baseline_04_00_on(name):
    for baseline, offset in {
        None: 0,
        "02.14": 0,
        "03.01": 0,
        "04.00": -0.1,
        "05.09": -0.1,
        "N0511": -0.1,
    }.items():
        sensor = load_sensor(name, processing_baseline=baseline)
        assert {(c.scale, c.offset, c.nodata) for c in sensor.channels} == {(1e-4, offset, 0)}
    assert load_sensor(name, "05.09") == load_sensor(name)  # the physics is the same


def test_a_baseline_that_is_none_or_means_nothing_is_refused():
    with pytest.raises(InputError, match="'latest' is not of the form"):
        load_sensor("sentinel-2-l2a", "latest")
    with pytest.raises(InputError, match="same scaling at every processing baseline"):
        load_sensor("landsat-8-c2-l2", "04.00")


LEDAPS = """
extends: landsat-7-etm
name: landsat-7-ledaps
title: Landsat 7 ETM+, LEDAPS
source: LEDAPS product guide
scale: 1e-4
offset: 0
nodata: -9999
bands:
  - {name: SR_B1, aliases: [band 1 reflectance]}
  - {name: B6, scale: 0.01, offset: 273.15, aliases: [band 6 temperature]}
  - {name: B8, center_wavelength: 0.71, full_width_half_max: 0.38, gsd: 15}
"""


def test_a_users_file_says_only_what_differs(tmp_path):
    path = tmp_path / "ledaps.yaml"
    path.write_text(LEDAPS)
    sensor = load_sensor(str(path))
    assert sensor.name == "landsat-7-ledaps"
    assert sensor.channels[:7] == load_sensor("landsat-7-etm").channels
    assert sensor.names[7:] == ("B8",)
    blue, heat = sensor["band 1 reflectance"], sensor["band 6 temperature"]
    assert (blue.name, blue.scale, blue.offset, blue.nodata) == ("SR_B1", 1e-4, 0, -9999)
    assert (heat.name, heat.scale, heat.offset, heat.nodata) == ("ST_B6", 0.01, 273.15, -9999)
    assert sensor["b1"] is blue


def test_a_users_file_reads_a_real_ledaps_scene(tmp_path, shared_data):
    path = tmp_path / "ledaps.yaml"
    path.write_text(LEDAPS)
    sensor = load_sensor(str(path))
    scene = shared_data / "scenes" / "landsat7_ceholden" / "LE70220491999322EDC01_stack.gtif"
    with rasterio.open(scene) as image:
        layer = image.descriptions.index("band 6 temperature") + 1
        heat = image.read(layer) * sensor["band 6 temperature"].scale
    heat = heat + sensor["band 6 temperature"].offset
    assert 290 < heat.mean() < 310  # kelvin, Chiapas by day


def test_a_users_file_keeps_the_baselines_of_what_it_extends(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("extends: sentinel-2-l2a\nname: mine\n")
    assert load_sensor(str(path), "05.09")["B04"].offset == -0.1


def test_a_calibrated_file_extends_an_uncalibrated_sensor(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("extends: gaofen-2-pms\nname: mine\nquantity: reflectance\nscale: 1.0e-4\n")
    assert {c.quantity for c in load_sensor(str(path)).channels} == {"reflectance"}


COMPLETE = """
name: mine
title: My camera
source: its data sheet
bands:
  - {name: R, center_wavelength: 0.65, full_width_half_max: 0.05}
  - {name: G, center_wavelength: 0.55, full_width_half_max: 0.05, aliases: [green]}
"""


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("name: mine", "name: [", "is not YAML"),
        (COMPLETE, "- a list", "the file is not a mapping"),
        ("source: its data sheet", "", "source is missing"),
        ("title: My camera", "title: 7", "title is 7, expected text"),
        ("bands:", "colour: red\nbands:", "the file: unknown field 'colour'"),
        ("bands:", "scale: ten\nbands:", "scale is 'ten', expected a number"),
        ("bands:", "extends: landsat-6\nbands:", "extends: no sensor 'landsat-6'"),
        ("bands:", "processing_baselines: 4\nbands:", "processing_baselines is not a list"),
        ("bands:", "processing_baselines: [{offset: 1}]\nbands:", "from is None"),
        ("0.65", "650", "band R: center_wavelength 650.* give micrometres"),
        ("0.65", "true", "band R: center_wavelength is True, expected a number"),
        ("center_wavelength: 0.65, ", "", "R: .*center_wavelength"),
        ("name: R, ", "", "band 1: name is missing"),
        ("name: R", "name: g", "band G is there twice"),
        ("[green]", "[r]", "alias 'r' belongs to both R and G"),
        ("[green]", "green", "band G: aliases is not a list"),
        ("name: R", "width: 3, name: R", "band R: unknown field 'width'"),
    ],
)
def test_a_file_that_is_not_of_the_form_names_file_and_field(tmp_path, old, new, message):
    path = tmp_path / "mine.yaml"
    path.write_text(COMPLETE)
    load_sensor(str(path))
    assert old in COMPLETE
    path.write_text(COMPLETE.replace(old, new, 1))
    with pytest.raises(InputError, match=message) as raised:
        load_sensor(str(path))
    assert str(path) in str(raised.value)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InputError, match=r"gone\.yaml cannot be read"):
        load_sensor(str(tmp_path / "gone.yaml"))
