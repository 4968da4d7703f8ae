"""Cards of slimmed specialists: the widths are in them, and in no other card."""

import json

import pytest
import torch

from registry import Registry, SpecialistCard
from sensors import Band, InputError
from specialists import SpecialistSpec, build_specialist
from specialists.slimming import slim

FIELDS = ("stage_widths", "hidden_widths")


@pytest.fixture(scope="module")
def whole():
    torch.manual_seed(0)
    spec = SpecialistSpec(
        task="scene-classification",
        bands=(Band("red", 0.665, 0.03), Band("nir", 0.842, 0.11)),
        classes=("wet", "dry"),
        mean=(0.1, 0.2),
        std=(0.1, 0.1),
        gsd=10.0,
        chip_size=32,
    )
    return build_specialist(spec).eval()


@pytest.fixture
def registry(tmp_path):
    return Registry.open(tmp_path)


def register(registry, specialist, name="slim"):
    return registry.add(specialist, name=name, version="1.0.0", license="MIT")


@pytest.mark.parametrize("scope", ["hidden", "full"])
@torch.no_grad()
def test_a_registered_one_is_rebuilt_with_the_same_outputs(registry, whole, scope):
    slimmed = slim(whole, 0.5, scope=scope)
    card = register(registry, slimmed)
    assert card.feature_channels == tuple(slimmed.feature_info.channels())
    restored = registry.get("slim")
    x_BCHW = torch.rand(2, 2, 32, 32)
    assert torch.equal(restored(x_BCHW), slimmed(x_BCHW))
    assert restored.spec == slimmed.spec == registry.specialist("slim").spec
    assert registry.verify() == {}


def test_the_card_survives_json(registry, whole):
    card = register(registry, slim(whole, 0.3, scope="full"))
    item = json.loads(json.dumps(card.to_stac_item()))
    again = SpecialistCard.from_stac_item(item)
    assert again.spec == card.spec
    assert again.to_stac_item() == item
    assert set(FIELDS) <= item["properties"]["mlm:hyperparameters"].keys()


def test_cards_of_others_do_not_name_widths(registry, whole):
    item = register(registry, whole, "whole").to_stac_item()
    assert not set(FIELDS) & item["properties"]["mlm:hyperparameters"].keys()


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize(
    "widths", [[0] * 4, [0] * 12, [1], [10**9] * 4, [10**9] * 12, [1.5] * 12, "wide", None, [[1]]]
)
def test_hostile_widths_are_refused(registry, whole, field, widths):
    item = register(registry, slim(whole, 0.5, scope="full")).to_stac_item()
    item["properties"]["mlm:hyperparameters"][field] = widths
    with pytest.raises(InputError, match=field):
        SpecialistCard.from_stac_item(item)


def test_a_card_of_other_widths_than_the_file_is_found(registry, whole):
    card = register(registry, slim(whole, 0.5))
    path = registry.store.card_path(card.reference)
    item = json.loads(path.read_text())
    item["properties"]["mlm:hyperparameters"]["hidden_widths"][0] += 1
    path.chmod(0o644)
    path.write_text(json.dumps(item))
    assert "hidden_widths" in registry.verify()["slim@1.0.0"]
    with pytest.raises(InputError, match="contradicts its weights"):
        registry.get("slim")
