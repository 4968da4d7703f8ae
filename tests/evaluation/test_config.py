import pytest

from evaluation.config import (
    base_of,
    compose_evaluation,
    list_protocols,
    load_protocol,
    to_plain,
)
from evaluation.probes import PROBES
from sensors import InputError
from specialists.named_data import load_data_config


@pytest.mark.parametrize("name", list_protocols())
def test_every_protocol_composes(name):
    found, protocol = load_protocol(name)
    assert found == name
    assert protocol.title
    assert protocol.description.endswith(".")
    assert protocol.probe.kind in PROBES


def test_a_mapping_changes_a_protocol():
    name, protocol = load_protocol({"base": "knn", "name": "knn_20", "probe": {"k": 20}})
    assert (name, protocol.probe.k, protocol.probe.distance) == ("knn_20", 20, "cosine")


def test_a_mapping_changes_a_data_set():
    config = load_data_config({"base": "eurosat_ms", "chip_size": 32}, "/data")
    assert config.chip_size == 32
    assert config.train.folder == "/data/eurosat_ms/train"


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"base": "knn", "name": "x", "neighbours": 3}, "neighbours"),
        ({"name": "x"}, "expected a name from configs/protocol"),
        ("nearest", "there is no protocol nearest"),
        ({"base": "linear", "name": "x", "split": "time"}, "own, random, block"),
        ({"base": "linear", "name": "x", "split": "block"}, "block_size"),
        ({"base": "linear", "name": "x", "drop_wavelengths": [1.0]}, "two wavelengths"),
        ({"base": "linear", "name": "x", "label_fraction": 0}, "label_fraction 0"),
    ],
)
def test_unusable_protocols_are_refused(entry, message):
    with pytest.raises(InputError, match=message):
        load_protocol(entry)


def test_configuration_names_every_field_it_refuses():
    with pytest.raises(InputError, match="sedes"):
        compose_evaluation(["encoders=[x]", "data_sets=[eurosat_ms]", "sedes=[0]"])
    with pytest.raises(InputError, match="encoders"):
        compose_evaluation(["data_sets=[eurosat_ms]"])


def test_plain_configuration_has_no_objects():
    config = compose_evaluation(["encoders=[a]", "data_sets=[eurosat_ms]"])
    assert to_plain(config)["encoders"] == ["a"]


def test_variations_know_what_they_vary():
    names = ["knn", "linear", "linear_10", "linear_without_swir", "linear_random_split"]
    protocols = dict(load_protocol(name) for name in names)
    bases = {name: base_of(name, protocols) for name in names}
    assert bases == {
        "knn": None,
        "linear": None,
        "linear_10": "linear",
        "linear_without_swir": "linear",
        "linear_random_split": None,
    }
    assert base_of("linear_10", {"linear_10": protocols["linear_10"]}) is None
