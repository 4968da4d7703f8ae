import json

import pytest

from sensors import InputError, load_sensor
from specialists import SpecialistSpec

TASKS = [
    {"task": "scene-classification"},
    {"task": "scene-classification", "multi_label": True, "classes": ("cloud",)},
    {"task": "semantic-segmentation", "decoder": "fpn", "stem_stride": 2},
    {
        "task": "regression",
        "target_mean": (1.0, 2.0),
        "target_std": (3.0, 4.0),
        "classes": ("a", "b"),
    },
    {"task": "regression", "per_pixel": True},
    {"task": "similarity-search", "classes": ()},
    {"task": "scene-classification", "stem": "wavelength"},
    {"task": "scene-classification", "hidden_widths": (1, *(80,) * 11)},
    {
        "task": "scene-classification",
        "architecture": "convnextv2_tiny",
        "stage_widths": (96, 192, 1, 7),
        "hidden_widths": (5,) * 18,
    },
]


@pytest.mark.parametrize("task", TASKS)
def test_spec_survives_json(make_spec, task):
    spec = make_spec(**task)
    assert SpecialistSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


@pytest.mark.parametrize("sensor", ["sentinel-2-l1c", "enmap-l2a", "sentinel-1-grd"])
def test_channels_of_a_sensor_survive_json(make_spec, sensor):
    spec = make_spec(bands=load_sensor(sensor).channels)
    again = SpecialistSpec.from_dict(json.loads(json.dumps(spec.to_dict())))
    assert again.bands == spec.bands
    assert [(b.scale, b.offset) for b in again.bands] == [(b.scale, b.offset) for b in spec.bands]


def test_sequences_are_kept_as_tuples(make_spec):
    spec = make_spec(classes=["a", "b"], mean=[0, 0, 0, 0], std=[1, 1, 1, 1])
    assert spec == make_spec(classes=("a", "b"), mean=(0.0,) * 4, std=(1.0,) * 4)
    assert hash(spec)


def test_regression_without_scaling_keeps_its_targets(make_spec):
    spec = make_spec(task="regression")
    assert (spec.target_mean, spec.target_std) == ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    assert make_spec().target_mean == ()


@pytest.mark.parametrize(
    ("task", "per_pixel"),
    [(TASKS[0], False), (TASKS[2], True), (TASKS[3], False), (TASKS[4], True)],
)
def test_per_pixel_tasks(make_spec, task, per_pixel):
    assert make_spec(**task).is_per_pixel is per_pixel


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": "resnet50"}, "resnet50.*convnextv2_atto"),
        ({"task": "detection"}, "detection.*scene-classification"),
        ({"head": "mlp"}, "head 'mlp'"),
        ({"decoder": "deeplab"}, "decoder 'deeplab'"),
        ({"stem_stride": 3}, "stem_stride 3"),
        ({"stem": "dynamic"}, "stem 'dynamic' is not one of fixed, wavelength"),
        ({"bands": ()}, "needs bands"),
        ({"classes": ()}, "needs classes"),
        ({"classes": ("a", "a", "b")}, "more than once: a"),
        ({"classes": ("a", "")}, "non-empty"),
        ({"classes": ("a",)}, "at least two"),
        ({"mean": (0.0, 0.0)}, "mean holds 2 numbers for 4 names"),
        ({"std": (1.0, 1.0, 1.0, 0.0)}, "VV.*std 0.0"),
        ({"mean": (0.0, float("nan"), 0.0, 0.0)}, "red.*nan"),
        ({"gsd": 0.0}, "gsd 0.0"),
        ({"gsd": float("inf")}, "gsd inf"),
        ({"chip_size": 0}, "chip_size 0"),
        ({"head_hidden_size": -1}, "head_hidden_size -1"),
        ({"drop_rate": 1.0}, "drop_rate 1.0"),
        ({"drop_path_rate": float("nan")}, "drop_path_rate nan"),
        ({"multi_label": True, "task": "semantic-segmentation"}, "multi_label"),
        ({"per_pixel": True}, "per_pixel"),
        ({"task": "similarity-search"}, "no classes, got forest, water, town"),
        ({"task": "similarity-search", "classes": (), "per_pixel": True}, "per_pixel"),
        ({"target_mean": (0.0, 0.0, 0.0)}, "target_mean"),
        ({"stage_widths": (40, 80, 160)}, "stage_widths holds 3 numbers.*convnextv2_atto has 4"),
        (
            {"stage_widths": (40, 80, 0, 320)},
            r"stage_widths 0 \(number 2\) is not between 1 and 160",
        ),
        ({"stage_widths": (41, 80, 160, 320)}, "stage_widths 41.*between 1 and 40"),
        ({"hidden_widths": (80,)}, "hidden_widths holds 1 numbers.*has 12"),
        ({"hidden_widths": (-1,) * 12}, "hidden_widths -1"),
        ({"hidden_widths": (10**12,) * 12}, "hidden_widths 1000000000000.*between 1 and 160"),
        ({"hidden_widths": (160, 160, 321, *(9,) * 9)}, "hidden_widths 321.*between 1 and 320"),
        ({"task": "regression", "target_std": (1.0,)}, "target_std holds 1"),
    ],
)
def test_contradictions_are_refused(make_spec, changes, message):
    with pytest.raises(InputError, match=message):
        make_spec(**changes)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("mean", ["0.1"] * 4),
        ("mean", 0.1),
        ("classes", [1, 2]),
        ("classes", "forest"),
        ("bands", ["B04"]),
        ("bands", [{"kind": "optical", "name": "B04", "center_wavelength": "red"}]),
        ("chip_size", 64.0),
        ("chip_size", True),
        ("multi_label", 1),
        ("gsd", None),
        ("architecture", ["convnextv2_atto"]),
        ("stage_widths", [40.0, 80.0, 160.0, 320.0]),
        ("stage_widths", 40),
        ("hidden_widths", [True] * 12),
        ("hidden_widths", ["9"] * 12),
        ("hidden_widths", None),
    ],
)
def test_other_types_are_refused(make_spec, field, value):
    record = make_spec().to_dict() | {field: value}
    with pytest.raises(InputError, match=field.removesuffix("s").replace("band", "B04|band")):
        SpecialistSpec.from_dict(record)


def test_unknown_and_missing_fields_are_named(make_spec):
    record = make_spec().to_dict() | {"_target_": "os.system"}
    del record["classes"]
    with pytest.raises(InputError, match=r"unknown fields \['_target_'\].*missing .*classes"):
        SpecialistSpec.from_dict(record)


def test_fields_with_a_default_may_be_left_out(make_spec):
    record = make_spec().to_dict()
    del record["decoder"], record["target_mean"]
    assert SpecialistSpec.from_dict(record) == make_spec()


@pytest.mark.parametrize("record", [None, [], "spec"])
def test_a_spec_is_a_dictionary(record):
    with pytest.raises(InputError, match="dictionary"):
        SpecialistSpec.from_dict(record)


def test_widths_are_written_only_where_they_are_not_those_published(make_spec):
    """The files and cards of all other specialists are the bytes that they always were."""
    assert not [name for name in make_spec().to_dict() if name.endswith("_widths")]
    slimmed = make_spec(hidden_widths=(9,) * 12).to_dict()
    assert slimmed["hidden_widths"] == [9] * 12
    assert "stage_widths" not in slimmed
    assert SpecialistSpec.from_dict(make_spec().to_dict() | {"stage_widths": []}) == make_spec()


def test_the_stem_is_written_only_where_it_is_not_fixed(make_spec):
    assert "stem" not in make_spec().to_dict()
    assert make_spec(stem="wavelength").to_dict()["stem"] == "wavelength"
    assert SpecialistSpec.from_dict(make_spec().to_dict() | {"stem": "fixed"}) == make_spec()


def test_any_known_band_will_do_for_a_wavelength_stem(make_spec):
    fixed, wavelength = make_spec(), make_spec(stem="wavelength")
    some, none = fixed.bands[1:3], load_sensor("landsat-8-c2-l2").channels[-1:]
    assert not fixed.match(some).is_applicable
    assert wavelength.match(some).is_applicable
    assert not wavelength.match(none).is_applicable
