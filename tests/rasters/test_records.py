"""Scenes in a folder each, beside a JSON record, in one data set."""

import json

import numpy as np
import pytest

from rasters import ChipDataset
from sensors import InputError

NAMES = ["B02", "B03", "B04"]
LAYERS = {"s1.tif": ["VH", "VV"], "s2.tif": ["B04", "B02", "-", "B03"]}


@pytest.fixture
def scenes(tmp_path, write_file, digital_numbers):
    """A scene of single-band files and a stacked one, with a radar image in both folders."""
    stored = digital_numbers(4, 6, 6)
    for name, layer in zip(["B04", "B02", "QA", "B03"], stored, strict=True):
        write_file(f"single/{name}.tif", layer)
    write_file("stacked/s2.tif", stored)
    radar = np.full((2, 6, 6), -9, dtype=np.float32)
    write_file("single/VV.tif", radar[0])
    write_file("stacked/s1.tif", radar * [[[2]], [[1]]])
    write_record(tmp_path / "single", labels=["Forest", "Water"], place="x", height=3)
    write_record(tmp_path / "stacked", labels=["Water"], place="y", height="4.5")
    return tmp_path


def write_record(folder, **record):
    folder.mkdir(exist_ok=True)
    (folder / "meta.json").write_text(json.dumps(record))


def read(root, **options):
    given = {"sensor": "sentinel-2-l2a", "bands": NAMES, "layers": LAYERS, "record": "meta.json"}
    given |= {"label_key": "labels", "multi_label": True}
    return ChipDataset.from_records(root, **(given | options))


def test_both_layouts_give_the_same_image(scenes):
    chips = read(scenes)
    assert chips.ids == ("single", "stacked")
    assert [band.name for band in chips.bands] == NAMES
    assert chips[0]["image"].equal(chips[1]["image"])
    assert chips[1]["valid"].all()


def test_another_sensor_takes_its_own_files(scenes):
    chips = read(scenes, sensor="sentinel-1-grd", bands=["VV"])
    assert [chip["image"].unique().tolist() for chip in chips] == [[-9.0], [-9.0]]


def test_labels_and_groups_come_from_the_record(scenes):
    chips = read(scenes, group_key="place")
    assert chips.classes == ("Forest", "Water")
    assert [chip["label"].tolist() for chip in chips] == [[1, 1], [0, 1]]
    assert chips.groups == ("x", "y")
    named = read(scenes, classes=["Water", "Snow", "Forest"])
    assert named[0]["label"].tolist() == [1, 0, 1]


def test_one_label_is_a_class(scenes):
    chips = read(scenes, label_key="place", multi_label=False)
    assert [int(chip["label"]) for chip in chips] == [0, 1]
    with pytest.raises(InputError, match="single has Forest, Water, expected one label"):
        read(scenes, multi_label=False)


def test_numbers_are_values(scenes):
    chips = read(scenes, label_key="height", task="regression", multi_label=False)
    assert [chip["label"].tolist() for chip in chips] == [[3.0], [4.5]]
    with pytest.raises(InputError, match="single: 'x' is not a number"):
        read(scenes, label_key=["height", "place"], task="regression")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"record": "absent.json"}, "no absent.json in the folders below"),
        ({"label_key": "label"}, "meta.json: no label; its keys are labels, place, height"),
        ({"classes": ["Water"]}, "single: label 'Forest' is not among the classes Water"),
    ],
)
def test_what_is_missing_is_named(scenes, options, message):
    with pytest.raises(InputError, match=message):
        read(scenes, **options)


@pytest.mark.parametrize(("text", "message"), [("{", "as JSON"), ("[1]", "object, got list")])
def test_a_broken_record_is_named(scenes, text, message):
    (scenes / "stacked" / "meta.json").write_text(text)
    with pytest.raises(InputError, match=rf"stacked/meta.json: .*{message}"):
        read(scenes)


def test_names_of_a_files_layers_must_fit_it(scenes):
    with pytest.raises(InputError, match=r"4 layers do not say .* 2 names were given"):
        read(scenes, layers={"s2.tif": ["B02", "B03"]})[1]
    with pytest.raises(InputError, match="no band is called 'B99'"):
        read(scenes, layers={"s2.tif": ["B02", "B03", "B99", "-"]})[1]
