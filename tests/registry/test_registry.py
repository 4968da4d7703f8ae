import json
import logging
import subprocess
import sys

import pytest
import torch

from registry import Registry
from registry.store import Store
from sensors.bands import Band, SarChannel
from sensors.errors import InputError
from specialists.model import build_specialist


@pytest.fixture
def registry(tmp_path):
    return Registry.open(tmp_path / "registry")


@pytest.fixture
def add(registry, specialist, new_card):
    """Registers the specialist with the facts of a complete run."""
    facts = {
        "license": "Apache-2.0",
        "training": new_card().training,
        "metrics": new_card().metrics,
    }

    def add_one(name="s2-landcover", version="1.0.0", **changes):
        return registry.add(specialist, name=name, version=version, **(facts | changes))

    return add_one


@pytest.fixture
def add_card(registry, new_card, new_spec, write_weights):
    """Puts a card of any spec into the store, beside weights that no network could load."""

    def add_one(name, version="1.0.0", card=None, **changes):
        spec = new_spec(**changes)
        path, sha256 = write_weights(spec)
        facts = {"name": name, "version": version, "sha256": sha256, "size": path.stat().st_size}
        found = new_card(spec, **(facts | (card or {})))
        registry.store.add(found.reference, found.to_stac_item(), {sha256: path})

    return add_one


def overwrite(path, content):
    path.chmod(0o644)
    path.write_bytes(content)


def edit_card(registry, reference, edit):
    path = registry.store.card_path(registry.store.resolve(reference))
    item = json.loads(path.read_bytes())
    edit(item)
    overwrite(path, json.dumps(item).encode())


def test_a_specialist_comes_back_frozen_and_the_same(registry, specialist, add):
    card = add()
    x = torch.rand(2, 3, 21, 16)

    again = registry.get("s2-landcover@1.0.0")

    assert again.is_frozen
    assert not again.training
    assert not any(weight.requires_grad for weight in again.parameters())
    assert again.spec == specialist.spec
    with torch.no_grad():
        assert torch.equal(again(x), specialist.eval()(x))
    assert registry.card("s2-landcover") == card


def test_a_card_alone_builds_the_network(registry, specialist, add):
    add()

    built = build_specialist(registry.card("s2-landcover").spec)

    shapes = {name: tensor.shape for name, tensor in built.state_dict().items()}
    assert shapes == {name: tensor.shape for name, tensor in specialist.state_dict().items()}


def test_the_card_measures_the_specialist(registry, specialist, add):
    card = add()

    assert card.parameters == sum(weight.numel() for weight in specialist.parameters())
    assert card.macs > 1e6
    assert card.feature_channels == tuple(specialist.feature_info.channels())
    assert card.feature_reduction == tuple(specialist.feature_info.reduction())
    assert card.size == registry.store.blob_path(card.sha256).stat().st_size


def test_items_in_the_store_are_valid_stac(registry, add, validate_item):
    add()

    validate_item(registry.store.read_card(registry.store.resolve("s2-landcover")))


def test_a_run_folder_is_registered_with_all_it_recorded(registry, run_dir, new_card):
    card = registry.add(run_dir, name="s2-landcover", version="1.0.0", license="apache-2.0")

    assert card.license == "Apache-2.0"
    assert card.training == new_card().training
    assert card.metrics == new_card().metrics
    weights = registry.store.blob_path(card.sha256).read_bytes()
    assert weights == (run_dir / "weights.safetensors").read_bytes()
    assert registry.get("s2-landcover").spec == card.spec


@pytest.mark.parametrize(
    "name", ["metrics.json", "training.json", "spec.json", "weights.safetensors"]
)
def test_unfinished_runs_are_refused(name, registry, run_dir):
    (run_dir / name).unlink()

    with pytest.raises(InputError, match=str(run_dir)):
        registry.add(run_dir, name="s2-landcover", version="1.0.0")
    assert not registry.store.root.exists()


def test_a_run_that_contradicts_itself_is_refused(registry, run_dir, new_spec):
    (run_dir / "spec.json").write_text(json.dumps(new_spec(gsd=20.0).to_dict()))

    with pytest.raises(InputError, match=r"spec\.json contradicts"):
        registry.add(run_dir, name="s2-landcover", version="1.0.0")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "../s2"}, "not a model name"),
        ({"version": "1"}, "not a version"),
        ({"license": "do what you want"}, "not an SPDX"),
        ({"license": "MIT OR Apache-2.0"}, "expression"),
        ({"training": {"data": None}}, "training_data"),
        ({"metrics": {"accuracy": float("nan")}}, "not plain JSON"),
    ],
)
def test_bad_facts_leave_no_trace(change, message, registry, add):
    with pytest.raises(InputError, match=message):
        add(**change)
    assert not registry.store.root.exists()


def test_a_version_is_registered_once(registry, add):
    add()
    with pytest.raises(InputError, match="already"):
        add()
    add(version="1.0.1")
    assert [str(card.reference) for card in registry.list()] == [
        "s2-landcover@1.0.0",
        "s2-landcover@1.0.1",
    ]


def test_a_flipped_bit_in_the_weights_is_refused(registry, add):
    path = registry.store.blob_path(add().sha256)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    overwrite(path, data)

    with pytest.raises(InputError, match=f"{path}: .* changed or damaged"):
        registry.get("s2-landcover")
    assert str(path) in registry.verify()["s2-landcover@1.0.0"]


CONTRADICTIONS = {
    "gsd": lambda properties: properties.update(gsd=30.0),
    "mean": lambda properties: properties["mlm:input"][0]["value_scaling"][0].update(mean=5.0),
    "classes": lambda properties: properties["mlm:output"][0]["classification:classes"][0].update(
        title="Industry"
    ),
    "bands": lambda properties: properties["bands"][0].update({"eo:center_wavelength": 0.56}),
    "architecture": lambda properties: properties.update({"mlm:architecture": "convnextv2_nano"}),
}


@pytest.mark.parametrize("field", CONTRADICTIONS)
def test_a_card_that_contradicts_its_weights_is_refused(field, registry, add):
    add()
    edit_card(registry, "s2-landcover", lambda item: CONTRADICTIONS[field](item["properties"]))

    with pytest.raises(InputError, match=f"contradicts its weights .*{field} is stated as"):
        registry.get("s2-landcover")
    assert registry.verify().keys() == {"s2-landcover@1.0.0"}


def test_a_wrong_size_contradicts_the_weights(registry, add):
    add()
    edit_card(registry, "s2-landcover", lambda i: i["assets"]["weights"].update({"file:size": 1}))

    with pytest.raises(InputError, match="1 bytes are stated"):
        registry.get("s2-landcover")


def test_a_card_of_another_name_is_refused(registry, add):
    add()
    path = registry.store.card_path(registry.store.resolve("s2-landcover"))
    other = registry.store.root / "cards" / "impostor" / "1.0.0.json"
    other.parent.mkdir()
    other.write_bytes(path.read_bytes())

    with pytest.raises(InputError, match=r"card of s2-landcover@.*, not of impostor@"):
        registry.get("impostor")


def test_weights_of_no_specialist_are_refused(registry, add_card):
    add_card("s2-landcover")  # its header is right, its tensors are not

    with pytest.raises(InputError, match="tensors are not those of its spec"):
        registry.get("s2-landcover")


@pytest.mark.parametrize("content", [b"", b"\xff" * 100, b"{" * 50])
def test_damaged_cards_are_named(content, registry, add):
    add()
    path = registry.store.card_path(registry.store.resolve("s2-landcover"))
    overwrite(path, content)

    for look in (registry.list, registry.search, lambda: registry.get("s2-landcover")):
        with pytest.raises(InputError, match=str(path)):
            look()


def test_an_empty_registry_is_not_created_by_looking(registry):
    assert registry.list() == registry.search() == ()
    assert registry.verify() == {}
    assert not registry.store.root.exists()


def test_listing_and_searching_read_no_weights(registry, add_card):
    add_card("s2-landcover")
    for path in (registry.store.root / "blobs" / "sha256").iterdir():
        path.unlink()

    assert len(registry.list()) == len(registry.search(task="scene-classification")) == 1


def test_listing_and_searching_import_no_torch(registry, add_card):
    add_card("s2-landcover")
    code = (
        "import sys; from registry import Registry; registry = Registry.open(sys.argv[1]); "
        "assert len(registry.list()) == len(registry.search(gsd=10, text='forest')) == 1; "
        "assert not registry.verify(); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, str(registry.store.root)], check=True)


RED, BLUE = Band("red", 0.66, 0.04, gsd=10), Band("blue", 0.49, 0.06, gsd=10)
VV = SarChannel("VV", "VV", 5.405)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, {"radar-flood", "red-classes", "rgb-height"}),
        ({"task": "regression"}, {"rgb-height"}),
        ({"gsd": 10}, {"radar-flood", "red-classes"}),
        ({"gsd": 20}, {"radar-flood", "red-classes"}),
        ({"gsd": 5}, {"radar-flood", "red-classes"}),
        ({"gsd": 21}, set()),
        ({"gsd": 1, "gsd_factor": 4}, {"rgb-height"}),
        ({"bands": [RED]}, {"red-classes"}),
        ({"bands": [VV, BLUE, RED]}, {"radar-flood", "red-classes", "rgb-height"}),
        ({"bands": [VV], "gsd": 10}, {"radar-flood"}),
        ({"bands": []}, set()),
        ({"text": "flood RADAR"}, {"radar-flood"}),
        ({"text": "forest"}, {"red-classes"}),
        ({"text": "eurosat"}, {"radar-flood", "red-classes", "rgb-height"}),
        ({"text": "forest flood"}, set()),
    ],
)
def test_search(query, expected, registry, add_card):
    add_card("red-classes", bands=(RED,))
    add_card("radar-flood", bands=(VV,), task="semantic-segmentation", classes=("dry", "wet"))
    add_card("rgb-height", bands=(BLUE, RED), task="regression", classes=("height",), gsd=0.5)

    assert {card.name for card in registry.search(**query)} == expected


def test_search_finds_the_highest_version_only(registry, add_card):
    add_card("s2-landcover", "1.9.0", gsd=10.0)
    add_card("s2-landcover", "1.10.0", gsd=100.0)

    assert [card.version for card in registry.search()] == ["1.10.0"]
    assert registry.search(gsd=10) == ()


def test_removal(registry, add):
    card = add()
    add(version="1.0.1")

    with pytest.raises(InputError, match=r"name the version to remove; the highest is .*@1\.0\.1"):
        registry.remove("s2-landcover")
    registry.remove("s2-landcover@1.0.1")
    assert registry.get("s2-landcover").spec == card.spec
    registry.remove("s2-landcover@1.0.0")
    assert registry.list() == ()
    assert not registry.store.blob_path(card.sha256).exists()


def test_the_default_registry(monkeypatch, tmp_path):
    monkeypatch.setenv("TERRAGUILD_REGISTRY", str(tmp_path / "named"))
    assert Registry.open().store.root == (tmp_path / "named").resolve()
    monkeypatch.delenv("TERRAGUILD_REGISTRY")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert tmp_path.resolve() in Registry.open().store.root.parents
    assert Registry(Store(tmp_path)).store.root == tmp_path.resolve()


SCORES = {
    "selection": {"accuracy": 0.9},
    "test": {"accuracy": 0.6},
    "floors": {"majority": {"accuracy": 0.5}, "linear_statistics": {"accuracy": 0.7}},
}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, []),
        ({"metrics": SCORES}, ["does not beat the floor linear_statistics (0.700)"]),
        ({"metrics": SCORES | {"test": None}}, ["of the split that chose the weights"]),
        ({"metrics": SCORES | {"floors": {}}}, ["no floor stands beside"]),
        ({"metrics": {}}, ["it has no accuracy"]),
        ({"license": "other"}, ["licence of its weights is not stated"]),
        ({"training": {}}, ["data of the licence 'not stated'"]),
        ({"training": {"data": {"licence": "CC-BY-NC-4.0"}}}, ["CC-BY-NC-4.0"]),
        ({"training": {"data": {"licence": "research use only"}}}, ["research use only"]),
        (
            {
                "training": {
                    "data": {"licence": "CC-BY-4.0"},
                    "pretrained": {"file": "atto.safetensors", "licence": "CC BY-NC 4.0"},
                }
            },
            ["began from weights of the licence 'CC BY-NC 4.0'"],
        ),
    ],
)
def test_doubts_are_logged(changes, expected, add, caplog):
    with caplog.at_level(logging.WARNING):
        add(**changes)

    assert len(caplog.messages) == len(expected)
    for message, part in zip(caplog.messages, expected, strict=True):
        assert message.startswith("s2-landcover@1.0.0: ")
        assert part in message


def test_regression_is_better_where_the_error_is_smaller(registry, new_card, new_spec, caplog):
    from registry.concerns import concerns

    spec = new_spec(task="regression", classes=("height",))
    scores = {"test": {"rmse": 2.0}, "floors": {"majority": {"rmse": 3.0}}}
    assert concerns(new_card(spec, metrics=scores)) == ()
    scores["floors"]["linear_statistics"] = {"rmse": 1.5}
    assert "floor linear_statistics" in concerns(new_card(spec, metrics=scores))[0]


def test_any_known_band_finds_a_wavelength_stem(registry, add_card):
    add_card("fixed", bands=(BLUE, RED))
    add_card("any", bands=(BLUE, RED), stem="wavelength")
    for bands, expected in [([RED, BLUE], {"any", "fixed"}), ([RED, VV], {"any"}), ([VV], set())]:
        assert {card.name for card in registry.search(bands=bands)} == expected
