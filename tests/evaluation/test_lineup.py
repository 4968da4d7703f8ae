import pytest

from evaluation.encoders import EncoderConfig
from evaluation.lineup import FLOORS, line_up
from registry import Registry
from sensors import InputError, load_sensor
from specialists import SpecialistSpec, build_specialist, save_weights

BANDS = load_sensor("naip").channels


@pytest.fixture
def registry(tmp_path):
    return Registry.open(tmp_path / "registry")


@pytest.fixture
def weights(tmp_path):
    def write(name, stem_stride=4):
        spec = SpecialistSpec(
            task="scene-classification",
            bands=BANDS,
            classes=("a", "b"),
            mean=(0.2,) * 4,
            std=(0.1,) * 4,
            gsd=1.0,
            chip_size=32,
            stem_stride=stem_stride,
        )
        save_weights(build_specialist(spec), tmp_path / f"{name}.safetensors")
        return str(tmp_path / f"{name}.safetensors")

    return write


def test_floors_come_with_a_random_twin_of_each_shape(registry, weights):
    chosen = line_up(
        [weights("one"), weights("two"), weights("fine", 2), "timm:resnet18"],
        BANDS,
        registry,
        floors=True,
    )
    sources = [config.source for config in chosen[4:]]
    assert sources == [*FLOORS, "random:convnextv2_atto", "random:convnextv2_atto"]
    assert [config.stem_stride for config in chosen[-2:]] == [4, 2]
    assert chosen[-1].name == "random-convnextv2_atto-stem2"


def test_no_twin_of_what_cannot_take_the_bands(registry, weights):
    radar = load_sensor("sentinel-1-grd").channels
    sources = [config.source for config in line_up([weights("one")], radar, registry, floors=True)]
    assert sources[1:] == list(FLOORS)


def test_a_network_with_weights_has_one_without(registry):
    entry = {"source": "timm:resnet18", "weights": "/weights/resnet18.safetensors"}
    chosen = line_up([entry], BANDS, registry, floors=True)
    assert chosen[-1] == EncoderConfig("timm:resnet18", name="resnet18-random", is_floor=True)


def test_only_what_was_asked_for(registry):
    assert line_up(["majority"], BANDS, registry, floors=False) == [EncoderConfig("majority")]


def test_a_floor_is_not_there_twice(registry):
    sources = [
        config.source for config in line_up(["image-statistics"], BANDS, registry, floors=True)
    ]
    assert sorted(sources) == sorted(FLOORS)


def test_one_name_for_two_encoders_is_refused(registry):
    entries = [{"source": f"timm:{name}", "name": "same"} for name in ("resnet18", "resnet34")]
    with pytest.raises(InputError, match="two encoders are named same"):
        line_up(entries, BANDS, registry, floors=False)


def test_a_specialist_that_is_not_there_is_named(registry):
    with pytest.raises(InputError, match="lakes"):
        line_up(["lakes"], BANDS, registry, floors=True)
