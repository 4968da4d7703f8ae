"""Cards of trunks and ensembles."""

import copy
import json

import pytest
from jsonschema import ValidationError

from registry import ModelCard
from registry.checksum import blob_hashes
from registry.kinds import card_from_item
from sensors.bands import Band
from sensors.errors import InputError


def through_json(item):
    return json.loads(json.dumps(item, allow_nan=False))


def test_card_survives_being_an_item(model_card):
    item = through_json(model_card.to_stac_item())

    assert ModelCard.from_stac_item(item) == card_from_item(item) == model_card


def test_item_is_valid_stac(model_card, validate_item):
    validate_item(through_json(model_card.to_stac_item()))


def test_the_schemas_look_at_these_items_too(model_card, validate_item):
    item = through_json(model_card.to_stac_item())
    dimensions = item["properties"]["mlm:input"][0]["input"]["dim_order"]
    dimensions[1] = "channel" if model_card.bands else "bands"

    with pytest.raises(ValidationError):
        validate_item(item)


def test_an_item_names_every_blob_that_must_stay(new_model_card):
    pinned = {"trunk": "1e" * 32, "member:s2-landcover@1.2.3": "0f" * 32}
    item = new_model_card(kind="ensemble", spec={"format": 1}, pinned=pinned).to_stac_item()

    assert blob_hashes(item) == ("2d" * 32, "1e" * 32, "0f" * 32)
    assert "mlm:model" not in item["assets"]["trunk"]["roles"]


def test_features_are_no_task(new_model_card):
    card = new_model_card(kind="ensemble", spec={"format": 1}, task="similarity-search")
    assert card.task is None
    assert "features from an ensemble" in card.description


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "specialist"}, "kind 'specialist'"),
        ({"spec": {}}, "builds nothing"),
        ({"task": "cooking", "classes": ("a",)}, "cooking"),
        ({"task": "regression"}, "task regression with the classes"),
        ({"classes": ("a", "b")}, "task None with the classes"),
        ({"task": "regression", "classes": (None,)}, "names of classes"),
        ({"gsd": 0.0}, "gsd 0.0"),
        ({"pinned": {"trunk": "../../etc/passwd"}}, "SHA-256"),
        ({"pinned": {"weights": "0f" * 32}}, "its own file"),
        ({"name": "../etc"}, "not a model name"),
        ({"license": "do what you want"}, "not an SPDX"),
    ],
)
def test_what_cannot_be_is_refused(changes, message, new_model_card):
    with pytest.raises(InputError, match=message):
        new_model_card(**({"kind": "ensemble", "spec": {"format": 1}} | changes))


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("properties", "terraguild:kind"), "virus", "kind 'virus'"),
        (("properties", "mlm:hyperparameters"), [], "mlm:hyperparameters"),
        (("properties", "mlm:tasks"), [], "one of each"),
        (("properties", "mlm:tasks"), [["regression"]], "regression"),
        (("properties", "mlm:input", 0, "bands"), ["VV"], "mlm:input"),
        (("properties", "gsd"), "ten", "gsd"),
        (("properties", "mlm:total_parameters"), 1.5, "mlm:total_parameters"),
        (("assets", "weights", "file:size"), None, "file:size"),
        (("assets", "trunk"), {"href": "../../../etc/passwd"}, "file:checksum"),
        (("assets", "member:s2-landcover@1.2.3", "href"), "../../../etc/passwd", "href"),
        (("assets", "weights"), None, "weights"),
    ],
)
def test_malformed_cards_are_refused_by_name(path, value, message, new_model_card):
    card = new_model_card(
        kind="ensemble",
        spec={"format": 1},
        task="scene-classification",
        classes=("field", "lake"),
        bands=(Band("red", 0.66, 0.04),),
        gsd=10.0,
        pinned={"member:s2-landcover@1.2.3": "0f" * 32},
    )
    item = copy.deepcopy(through_json(card.to_stac_item()))
    part = item
    for key in path[:-1]:
        part = part[key]
    part[path[-1]] = value

    with pytest.raises(InputError, match=message):
        card_from_item(item)
