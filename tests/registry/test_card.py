import copy
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import ValidationError

from registry import Prototype, SpecialistCard
from registry.stac import band_from_stac, band_to_stac
from sensors.bands import Band, SarChannel
from sensors.errors import InputError

GOLDEN = Path(__file__).parent / "golden"


def through_json(item):
    return json.loads(json.dumps(item, allow_nan=False))


def test_card_survives_being_an_item(spec, new_card):
    card = new_card(spec)

    again = SpecialistCard.from_stac_item(through_json(card.to_stac_item()))

    assert again == card
    assert [repr(band) for band in again.spec.bands] == [repr(band) for band in spec.bands]


def test_item_is_valid_stac(spec, new_card, validate_item):
    validate_item(through_json(new_card(spec).to_stac_item()))


@pytest.mark.parametrize("kind", ["scene", "mixed"])
def test_cards_of_the_first_version_keep_their_bytes(kind):
    golden = (GOLDEN / f"specialist-0.1-{kind}.json").read_text(encoding="utf-8")

    card = SpecialistCard.from_stac_item(json.loads(golden))

    assert card.prototypes == ()
    assert json.dumps(card.to_stac_item(), indent=2, ensure_ascii=False) + "\n" == golden


PROTOTYPES = (
    Prototype("ab" * 32, (0.1, -2.0, 3e-7), (0.5, 0.0, 1.0), 512),
    Prototype("cd" * 32, (1.0,), (2.0,), 1),
)


def test_prototypes_survive_being_in_an_item(new_card, validate_item):
    card = new_card(prototypes=PROTOTYPES)

    item = through_json(card.to_stac_item())

    assert SpecialistCard.from_stac_item(item) == card
    assert item["properties"]["terraguild:prototypes"][1] == {
        "trunk": "cd" * 32,
        "mean": [1.0],
        "std": [2.0],
        "chips": 1,
    }
    validate_item(item)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"trunk": "ab"}, "SHA-256"),
        ({"trunk": None}, "SHA-256"),
        ({"mean": [1.0, 2.0]}, "2 numbers in mean and 1 in std"),
        ({"mean": [], "std": []}, "0 numbers in mean"),
        ({"mean": ["1"]}, "finite numbers"),
        ({"mean": [10**400]}, "finite numbers"),
        ({"mean": [float("nan")]}, "finite numbers"),
        ({"mean": 1.0}, "lists"),
        ({"std": [-1.0]}, "below 0"),
        ({"chips": 0}, "chips 0"),
        ({"chips": True}, "chips True"),
        ({"model": "os.system"}, "described by"),
    ],
)
def test_malformed_prototypes_are_refused(changes, message, new_card):
    item = through_json(new_card(prototypes=PROTOTYPES).to_stac_item())
    item["properties"]["terraguild:prototypes"][1] |= changes

    with pytest.raises(InputError, match=message):
        SpecialistCard.from_stac_item(item)


def test_one_prototype_a_trunk(new_card):
    with pytest.raises(InputError, match="two prototypes of one trunk"):
        new_card(prototypes=(PROTOTYPES[0], PROTOTYPES[0]))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("properties", "mlm:name"), "1-bad"),
        (("properties", "mlm:tasks"), ["mapping"]),
        (("properties", "mlm:input", 0, "input", "dim_order"), ["batch", "channel", "height"]),
        (("properties", "mlm:input", 0, "value_scaling", 0, "mean"), "0.1"),
        (("properties", "mlm:output", 0, "classification:classes", 0, "name"), "two words"),
        (("properties", "mlm:unheard_of"), 1),
        (("properties", "bands", 0, "eo:common_name"), "mauve"),
        (("properties", "bands", 0, "eo:wavelength"), 0.6),
        (("properties", "license"), "MIT or else"),
        (("properties", "datetime"), "yesterday"),
        (("assets", "weights", "mlm:artifact_type"), ""),
        (("assets", "weights", "roles"), ["data"]),
        (("assets", "weights", "file:checksum"), "not hexadecimal"),
        (("assets", "weights", "bands"), None),
    ],
)
def test_schemas_refuse_what_is_wrong(path, value, new_card, validate_item):
    item = through_json(new_card().to_stac_item())
    *parents, last = path
    part = item
    for key in parents:
        part = part[key]
    if value is None:
        del part[last]
    else:
        part[last] = value

    with pytest.raises(ValidationError):
        validate_item(item)


def test_item_says_it_in_the_words_of_the_extensions(new_card):
    item = new_card().to_stac_item()
    properties, asset = item["properties"], item["assets"]["weights"]

    red = properties["bands"][1]
    assert red["eo:common_name"] == "red"
    assert red["eo:center_wavelength"] == 0.6646  # micrometres
    assert red["eo:full_width_half_max"] == 0.038
    assert (red["gsd"], red["unit"], red["terraguild:quantity"]) == (10, "1", "reflectance")
    assert (red["raster:scale"], red["raster:offset"], red["nodata"]) == (1e-4, -0.1, 0)
    assert properties["mlm:input"][0]["value_scaling"][0]["type"] == "z-score"
    assert properties["mlm:output"][0]["classification:classes"][2] == {
        "value": 2,
        "name": "Sea_Lake",
        "title": "Sea & Lake",
    }
    assert asset["file:checksum"] == "1220" + "0f" * 32
    assert asset["href"] == f"../../blobs/sha256/{'0f' * 32}.safetensors"
    assert properties["terraguild:training_data"]["split_hash"] == "ab" * 32
    assert properties["terraguild:metrics"]["floors"]["majority"] == {"accuracy": 0.5}


def test_radar_is_said_in_the_words_of_the_sar_extension():
    band = band_to_stac(SarChannel("VH", "VH", 5.405, gsd=10))

    assert band["sar:polarizations"] == ["VH"]
    assert band["sar:frequency_band"] == "C"
    assert band["sar:center_frequency"] == 5.405
    assert band["unit"] == "dB"


finite = st.floats(-1e6, 1e6)
optional = st.none() | finite
optical = st.builds(
    Band,
    name=st.text(min_size=1),
    center_wavelength=st.floats(3, 15),
    full_width_half_max=st.floats(1e-3, 1),
    gsd=st.none() | st.floats(0.1, 1000),
    common_name=st.none() | st.sampled_from(["red", "nir", "terraguild:odd", ""]),
    quantity=st.sampled_from(["reflectance", "brightness", "temperature"]),
    scale=finite.filter(bool),
    offset=finite,
    nodata=optional,
)
radar = st.builds(
    SarChannel,
    name=st.text(min_size=1),
    polarization=st.sampled_from(["VV", "VH", "HH", "HV"]),
    center_frequency=st.floats(0.1, 100),
    gsd=st.none() | st.floats(0.1, 1000),
    scale=finite.filter(bool),
    offset=finite,
    nodata=optional,
)


@given(optical | radar)
def test_every_channel_survives_being_a_stac_band(channel):
    again = band_from_stac(through_json(band_to_stac(channel)))

    assert repr(again) == repr(channel)  # repr sees scale, offset and nodata, which equality leaves


def test_band_fields_of_others_are_let_alone():
    band = band_to_stac(Band("B04", 0.6646, 0.038)) | {"description": "red", "view:azimuth": 3}

    assert band_from_stac(band) == Band("B04", 0.6646, 0.038)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("properties",), [], "properties"),
        (("properties", "terraguild:kind"), "trunk", "kind 'trunk'"),
        (("properties", "mlm:tasks"), ["cooking"], "cooking"),
        (("properties", "mlm:tasks"), [], "one of each"),
        (("properties", "mlm:architecture"), "os.system", "architecture"),
        (("properties", "mlm:hyperparameters"), {"_target_": "os.system"}, "_target_"),
        (("properties", "mlm:input", 0, "bands"), ["B04", "B02", "B11"], "mlm:input"),
        (("properties", "mlm:input", 0, "value_scaling"), [], "mean"),
        (("properties", "mlm:input", 0, "value_scaling", 0, "type"), "min-max", "z-score"),
        (("properties", "mlm:input", 0, "value_scaling", 0, "stddev"), 0, "std"),
        (("properties", "mlm:output", 0, "classification:classes", 0, "value"), 7, "from 0"),
        (("properties", "mlm:output", 0, "classification:classes", 0, "title"), None, "classes"),
        (("properties", "bands", 0), "B02", "bands"),
        (("properties", "bands", 0, "eo:center_wavelength"), 490, "micrometres"),
        (("properties", "bands", 0, "eo:center_wavelength"), "blue", "B02"),
        (("properties", "bands", 0, "raster:scale"), "much", "scale"),
        (("properties", "bands", 0, "terraguild:quantity"), "mood", "quantity"),
        (("properties", "gsd"), None, "gsd"),
        (("properties", "mlm:total_parameters"), True, "mlm:total_parameters"),
        (("properties", "terraguild:feature_channels"), [1.5], "feature_channels"),
        (("properties", "version"), "1.0", "version"),
        (("properties", "mlm:name"), "../../etc", "name"),
        (("properties", "license"), "free", "license"),
        (("assets",), {}, "weights"),
        (("assets", "weights", "file:checksum"), "1220", "file:checksum"),
        (("assets", "weights", "file:size"), "big", "file:size"),
        (("assets", "weights", "href"), "../../../etc/passwd", "href"),
    ],
)
def test_malformed_cards_are_refused_by_name(path, value, message, new_card):
    item = copy.deepcopy(through_json(new_card().to_stac_item()))
    part = item
    for key in path[:-1]:
        part = part[key]
    part[path[-1]] = value

    with pytest.raises(InputError, match=message):
        SpecialistCard.from_stac_item(item)


def test_a_wavelength_stem_is_said_to_take_any_of_its_bands(new_card, new_spec):
    card = new_card(new_spec(stem="wavelength"), description="")
    [taken] = card.to_stac_item()["properties"]["mlm:input"]
    assert taken["input"]["shape"] == [-1, -1, -1, -1]
    assert "Any of these bands" in taken["description"]
    assert "any of 3 bands" in card.description
    assert "any of" not in new_card(description="").description
