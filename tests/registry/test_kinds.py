"""Trunks and ensembles beside specialists in one registry."""

import json
import subprocess
import sys
import time

import pytest

from registry import ModelCard, Registry, SpecialistCard
from registry.store import Store
from sensors.bands import Band
from sensors.errors import InputError


@pytest.fixture
def registry(tmp_path):
    return Registry.open(tmp_path / "registry")


@pytest.fixture
def guild(registry, specialist, add_model):
    """One model of each kind; the ensemble pins the others."""
    member = registry.add(specialist, name="s2-landcover", version="1.0.0", license="MIT")
    trunk = add_model(registry, "trunk", name="eye")
    pinned = {"member:s2-landcover@1.0.0": member.sha256, "trunk": trunk.sha256}
    add_model(registry, "scenes", name="guild", bands=member.spec.bands, pinned=pinned)
    return registry


def names(cards):
    return [card.name for card in cards]


def test_each_kind_is_listed(guild):
    assert names(guild.list()) == ["eye", "guild", "s2-landcover"]
    assert names(guild.list("trunk")) == ["eye"]
    assert names(guild.list(kind="ensemble")) == ["guild"]
    assert names(guild.list("specialist")) == ["s2-landcover"]
    with pytest.raises(InputError, match="no kind 'tree'"):
        guild.list("tree")


def test_each_kind_has_its_card(guild):
    assert isinstance(guild.card("s2-landcover"), SpecialistCard)
    assert isinstance(guild.card("guild@1.0.0"), ModelCard)
    assert guild.specialist("s2-landcover") == guild.card("s2-landcover")


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, ["s2-landcover"]),
        ({"kind": None}, ["eye", "guild", "s2-landcover"]),
        ({"kind": None, "task": "scene-classification"}, ["guild", "s2-landcover"]),
        ({"kind": None, "task": "similarity-search"}, ["eye"]),
        ({"kind": "ensemble", "task": "regression"}, []),
        ({"kind": "ensemble", "gsd": 15}, ["guild"]),
        ({"kind": None, "gsd": 100}, ["eye"]),
        ({"kind": None, "bands": [Band("red", 0.66, 0.04)]}, ["eye"]),
        ({"kind": None, "text": "sea eurosat"}, ["guild"]),
    ],
)
def test_search(query, expected, guild):
    assert names(guild.search(**query)) == expected


def test_bands_that_serve_an_ensemble_find_it(guild):
    bands = guild.specialist("s2-landcover").spec.bands
    assert names(guild.search(kind="ensemble", bands=bands)) == ["guild"]


def test_what_is_no_specialist_says_what_it_is(guild):
    for look in (guild.get, guild.specialist, guild.weights):
        with pytest.raises(InputError, match=r"eye@1\.0\.0 is a trunk.*router\.find_trunk"):
            look("eye")
        with pytest.raises(InputError, match=r"guild@1\.0\.0 is an ensemble.*Ensemble\.load"):
            look("guild")
    with pytest.raises(InputError, match=r"s2-landcover@1\.0\.0 is a specialist, not a trunk"):
        guild.weights("s2-landcover", kind="trunk")
    sha256 = guild.card("guild").sha256
    assert guild.weights("guild", kind="ensemble") == guild.store.blob_path(sha256)


def test_pinned_blobs_stay_as_long_as_the_ensemble(guild):
    pins = guild.card("guild").pinned.values()
    for name in ("s2-landcover@1.0.0", "eye@1.0.0"):
        guild.remove(name)
    assert guild.store.sweep() == ()
    assert [guild.blob(sha256).stem for sha256 in pins] == list(pins)
    assert guild.verify() == {}

    guild.remove("guild@1.0.0")
    for sha256 in pins:
        with pytest.raises(InputError, match="no such file"):
            guild.blob(sha256)


def test_verify_looks_at_pinned_blobs(guild):
    for name in ("s2-landcover@1.0.0", "eye@1.0.0"):
        guild.remove(name)
    path = guild.blob(guild.card("guild").pinned["trunk"])
    path.chmod(0o644)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)

    assert "pinned trunk" in guild.verify()["guild@1.0.0"]
    with pytest.raises(InputError, match="changed or damaged"):
        guild.blob(path.stem)
    with pytest.raises(InputError, match="SHA-256"):
        guild.blob("../../cards/guild/1.0.0")


def test_what_is_pinned_must_be_there_and_sound(registry, add_model):
    with pytest.raises(InputError, match=r"guild@1\.0\.0 needs .*0f0f.*no such file"):
        add_model(registry, "scenes")
    assert registry.list() == ()
    assert not list(registry.store.root.rglob("*.safetensors"))

    trunk = add_model(registry, "trunk", name="eye")
    path = registry.blob(trunk.sha256)
    path.chmod(0o644)
    path.write_bytes(b"damaged")
    with pytest.raises(InputError, match="changed or damaged"):
        add_model(registry, "scenes", pinned={"trunk": trunk.sha256})
    assert names(registry.list()) == ["eye"]


def test_a_card_that_contradicts_its_trunk_is_refused(registry, add_model, tmp_path):
    card = add_model(registry, "trunk", name="eye")
    path = registry.store.card_path(card.reference)
    item = json.loads(path.read_text())
    item["properties"]["mlm:hyperparameters"]["width"] = 64
    path.chmod(0o644)
    path.write_text(json.dumps(item))

    with pytest.raises(InputError, match=r"contradicts its weights .* width is stated as 64"):
        registry.weights("eye", kind="trunk")
    other = registry.card("eye")
    weights = registry.blob(other.sha256)
    with pytest.raises(InputError, match="width is stated as 64, and is 32"):
        Registry(Store(tmp_path / "other")).add_model(other, weights)
    assert not (tmp_path / "other").exists()


def test_a_version_is_registered_once(registry, add_model):
    add_model(registry, "trunk")
    with pytest.raises(InputError, match="already"):
        add_model(registry, "segmentation")


def test_doubts_about_sharing_are_logged(registry, add_model, caplog):
    add_model(registry, "trunk", name="eye")
    assert not caplog.messages
    sources = [{"licence": "MIT"}, {"licence": "CC-BY-NC-4.0"}, {"licence": "CC-BY-NC-4.0"}]
    add_model(registry, "trunk", license="other", training={"data": {"sources": sources}})
    assert len(caplog.messages) == 2
    assert "not stated" in caplog.messages[0]
    assert "CC-BY-NC-4.0" in caplog.messages[1]


def test_a_thousand_cards_are_listed_at_once_and_without_torch(registry, guild, new_card):
    item = new_card(sha256=guild.card("s2-landcover").sha256).to_stac_item()
    for number in range(1000):
        name = f"many-{number}"
        item["properties"]["mlm:name"] = name
        path = registry.store.root / "cards" / name / "1.2.3.json"
        path.parent.mkdir()
        path.write_text(json.dumps(item))
    code = (
        "import sys; from registry import Registry; registry = Registry.open(sys.argv[1]); "
        "assert len(registry.list()) == 1003; assert len(registry.search(kind=None, gsd=10)) > 1; "
        "assert 'torch' not in sys.modules"
    )
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code, str(registry.store.root)], check=True)
    assert time.perf_counter() - start < 15  # about 1 s, beside nothing else
