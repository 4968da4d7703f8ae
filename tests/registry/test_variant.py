"""Compiled forms in the registry."""

import json
from io import StringIO

import pytest
import torch
from rich.console import Console

from registry import Reference, Registry, SpecialistCard
from registry.item import blob_href
from registry.tables import card_table
from registry.variant import CONSTANTS, GRAPH, SUFFIXES, Blob, Variant
from sensors.errors import InputError
from specialists.model import build_specialist

VARIANT = Variant(
    precision="int8",
    graph=Blob("ab" * 32, 700),
    constants=Blob("cd" * 32, 3500),
    versions={"openvino": "2026.4.1", "nncf": "3.4.0"},
    calibration={"data": "eurosat", "split": "train", "split_hash": "ef" * 32, "chips": 300},
    scores={"data": "eurosat", "split": "test", "metric": "accuracy", "float32": {"value": 0.9}},
)


def through_json(item):
    return json.loads(json.dumps(item, allow_nan=False))


def test_it_survives_being_in_an_item(spec, new_card, validate_item):
    card = new_card(spec, variant=VARIANT)

    item = through_json(card.to_stac_item())

    assert SpecialistCard.from_stac_item(item) == card
    validate_item(item)
    assert item["assets"][GRAPH]["href"] == f"../../blobs/sha256/{'ab' * 32}.xml"
    assert item["assets"][CONSTANTS]["file:size"] == 3500


def test_a_card_without_one_says_nothing_of_it(new_card):
    text = json.dumps(new_card().to_stac_item())
    assert "variant" not in text
    assert "graph" not in text


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("properties", "terraguild:variant", "precision"), "int4", "int4"),
        (("properties", "terraguild:variant", "precision"), 8, "precision holds 8"),
        (("properties", "terraguild:variant", "scores"), [], "scores"),
        (("properties", "terraguild:variant", "more"), {}, "is described by"),
        (("properties", "terraguild:variant"), "int8", "variant"),
        (("assets", GRAPH), None, GRAPH),
        (("assets", GRAPH, "file:size"), "700", "file:size"),
        (("assets", CONSTANTS, "href"), blob_href("cd" * 32, ".xml"), "href"),
        (("assets", CONSTANTS, "href"), "https://example.org/model.bin", "href"),
        (("assets", CONSTANTS, "file:checksum"), "1220", "file:checksum"),
    ],
)
def test_what_contradicts_itself_is_refused(path, value, said, new_card):
    item = through_json(new_card(variant=VARIANT).to_stac_item())
    part = item
    for step in path[:-1]:
        part = part[step]
    part[path[-1]] = value

    with pytest.raises(InputError, match=said):
        SpecialistCard.from_stac_item(item)


@pytest.fixture(scope="module")
def compiled(specialist):
    pytest.importorskip("openvino")
    from specialists.compiled import compile_specialist

    return compile_specialist(specialist)


@pytest.fixture
def guild(tmp_path, specialist):
    registry = Registry.open(tmp_path / "registry")
    registry.add(
        specialist,
        name="s2-landcover",
        version="1.0.0",
        license="MIT",
        metrics={"test": {"accuracy": 0.9}},
    )
    return registry


@pytest.fixture
def card(guild, compiled):
    return guild.add_variant(
        "s2-landcover", compiled, name="s2-fast", version="1.0.0", scores=VARIANT.scores
    )


def blobs(guild):
    return sorted(path.name for path in (guild.store.root / "blobs" / "sha256").iterdir())


def test_it_is_a_specialist_of_its_own_with_the_same_weights(guild, card, specialist):
    source = guild.specialist("s2-landcover")

    assert card == guild.specialist("s2-fast")
    assert (card.sha256, card.spec, card.license) == (source.sha256, source.spec, "MIT")
    assert (card.metrics, card.parents) == (source.metrics, ("s2-landcover@1.0.0",))
    assert card.variant.scores == VARIANT.scores
    assert set(card.variant.versions) == {"openvino"}
    assert len(blobs(guild)) == 3
    x_BCHW = torch.rand(2, len(specialist.bands), 20, 20)
    expected = guild.get("s2-landcover").predict(x_BCHW)
    assert torch.equal(guild.get("s2-fast").predict(x_BCHW), expected)
    found = guild.compiled("s2-fast").predict(x_BCHW)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert guild.verify() == {}


def test_its_table_says_so(card):
    text = Console(width=200, file=StringIO(), record=True)
    text.print(card_table(card))
    assert "float32, for OpenVINO" in text.export_text()


def test_what_has_none_says_how_to_make_one(guild):
    with pytest.raises(InputError, match=r"no compiled form.*quantize-specialist s2-landcover"):
        guild.compiled("s2-landcover")


def test_weights_stay_while_either_card_names_them(guild, card):
    guild.remove("s2-landcover@1.0.0")
    assert len(blobs(guild)) == 3
    assert guild.compiled("s2-fast@1.0.0").spec == card.spec

    guild.remove("s2-fast@1.0.0")
    assert blobs(guild) == []


def test_removing_it_leaves_the_source(guild, card):
    guild.remove("s2-fast@1.0.0")

    assert blobs(guild) == [f"{card.sha256}.safetensors"]
    assert guild.verify() == {}


def test_a_sweep_takes_files_that_no_card_names(guild, card):
    folder = guild.store.root / "blobs" / "sha256"
    orphans = {folder / ("12" * 32 + suffix) for suffix in (".xml", ".bin", ".safetensors")}
    for orphan in orphans:
        orphan.write_bytes(b"litter")

    assert set(guild.store.sweep()) == orphans
    assert guild.verify() == {}


@pytest.mark.parametrize("name", [GRAPH, CONSTANTS])
@pytest.mark.parametrize("damage", ["changed", "gone"])
def test_a_damaged_file_is_refused_by_name(name, damage, guild, card):
    path = guild.store.blob_path(card.variant.blobs[name].sha256, SUFFIXES[name])
    path.chmod(0o644)
    if damage == "changed":
        path.write_bytes(path.read_bytes()[:-1] + b"?")
    else:
        path.unlink()

    problems = guild.verify()

    assert set(problems) == {"s2-fast@1.0.0"}
    assert f"asset {name}" in problems["s2-fast@1.0.0"]
    assert path.name in problems["s2-fast@1.0.0"]
    with pytest.raises(InputError, match=f"asset {name}.*{path.name}"):
        guild.compiled("s2-fast")
    assert guild.get("s2-fast")  # the float network is whole


def rewrite(guild, change):
    path = guild.store.card_path(Reference("s2-fast", "1.0.0"))
    item = json.loads(path.read_text())
    change(item)
    path.chmod(0o644)
    path.write_text(json.dumps(item))


def test_a_card_that_states_another_size_is_refused(guild, card):
    rewrite(guild, lambda item: item["assets"][GRAPH].update({"file:size": 5}))

    assert "5 bytes are stated" in guild.verify()["s2-fast@1.0.0"]


def test_the_graph_of_another_specialist_is_refused(guild, card, new_spec):
    from specialists.compiled import compile_specialist

    other = build_specialist(new_spec(chip_size=16, gsd=20.0))
    with pytest.raises(InputError, match="its spec is another one"):
        guild.add_variant("s2-landcover", compile_specialist(other), name="bad", version="1.0.0")

    guild.add(other, name="other", version="1.0.0")
    theirs = guild.add_variant("other", compile_specialist(other), name="fast-20", version="1.0.0")
    assets = theirs.to_stac_item()["assets"]
    rewrite(guild, lambda item: item["assets"].update({n: assets[n] for n in SUFFIXES}))
    with pytest.raises(InputError, match=r"contradicts its graph.*restore the card"):
        guild.compiled("s2-fast")


def test_a_taken_name_is_refused(guild, card, compiled):
    before = blobs(guild)
    with pytest.raises(InputError, match="already"):
        guild.add_variant("s2-landcover", compiled, name="s2-fast", version="1.0.0")
    assert blobs(guild) == before
