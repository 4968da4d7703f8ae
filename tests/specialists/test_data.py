"""Data configurations: which files make which split, and what cannot be a split."""

import shutil

import numpy as np
import pytest
import rasterio

from sensors import InputError
from specialists.data import ChipsConfig, DataConfig, describe_splits, load_splits
from specialists.splitting import SplitConfig


def make(kind="folders", **entries):
    settings = {"name": "toy", "title": "Toy", "licence": "CC0-1.0", "source": "a test"}
    return DataConfig(**settings, kind=kind, sensor="rgb-aerial", **entries)


@pytest.fixture
def scenes(toy_data):
    return ChipsConfig(folder=str(toy_data / "scenes"))


def test_splits_without_files_are_cut_from_the_training_files(scenes):
    split = SplitConfig(fractions={"selection": 0.2, "test": 0.2})
    chips = load_splits(make(train=scenes, split=split)).chips
    ids = [id_ for part in chips.values() for id_ in part.ids]
    assert list(chips) == ["train", "selection", "test"]
    assert len(ids) == len(set(ids)) == 36


def test_splits_with_files_are_read_from_them(scenes, toy_data, tmp_path):
    shutil.copytree(toy_data / "scenes", tmp_path / "east")
    east = ChipsConfig(folder=str(tmp_path / "east"))
    config = make(train=scenes, test=east, other_tests={"again": east})
    chips = load_splits(config).chips
    assert list(chips) == ["train", "selection", "test", "again"]
    assert len(chips["train"]) + len(chips["selection"]) == len(chips["test"]) == 36
    assert describe_splits(config).endswith("files of their own: test, again")


def test_classes_of_other_splits_are_those_of_the_training_files(scenes, toy_data, tmp_path):
    shutil.copytree(toy_data / "scenes", tmp_path / "east")
    (tmp_path / "east" / "roof").rename(tmp_path / "east" / "hut")
    config = make(train=scenes, test=ChipsConfig(folder=str(tmp_path / "east")))
    with pytest.raises(InputError, match="hut"):
        load_splits(config)


def test_bands_of_all_splits_are_the_same(scenes, tmp_path):
    """A grey picture beside coloured ones has no band of theirs in their order."""
    grey = np.zeros((1, 16, 16), np.uint8)
    for name in ("field", "lake", "roof"):
        path = tmp_path / "grey" / name / "0.tif"
        path.parent.mkdir(parents=True)
        size = {"count": 1, "height": 16, "width": 16, "dtype": "uint8"}
        with rasterio.open(path, "w", driver="GTiff", **size) as dataset:
            dataset.write(grey)
            dataset.set_band_description(1, "green")
    config = make(train=scenes, test=ChipsConfig(folder=str(tmp_path / "grey")))
    with pytest.raises(InputError, match=r"test split has the bands G .*data\.bands"):
        load_splits(config)


def test_digest_tells_which_chip_is_where(scenes):
    digest = load_splits(make(train=scenes)).digest()
    assert digest == load_splits(make(train=scenes)).digest()
    other = make(train=scenes, split=SplitConfig(seed=1))
    assert digest != load_splits(other).digest()


def test_group_in_two_splits_is_refused(scenes):
    split = SplitConfig(by="group", group_pattern=r"_(\d+)", fractions={"selection": 0.2})
    with pytest.raises(InputError, match=r"group \d+ is in the \w+ and in the test split"):
        load_splits(make(train=scenes, test=scenes, split=split))


def test_polygons_held_out_are_scored_on_other_images_too(toy_data):
    """One image and its mask; the second image is the same place seen again."""
    train = ChipsConfig(
        images=str(toy_data / "images" / "0.png"), masks=str(toy_data / "masks" / "0.tif")
    )
    again = ChipsConfig(images=str(toy_data / "images" / "1.png"))
    split = SplitConfig(by="component", fractions={"selection": 0.3, "test": 0.3})
    config = make(
        "pairs",
        task="semantic-segmentation",
        train=train,
        other_tests={"again": again},
        label_map={0: "dark", 1: "bright"},
        split=split,
    )
    chips = load_splits(config).chips
    assert set(chips) == {"train", "selection", "test", "again"}
    labelled = [chips[name][0]["mask"] != 255 for name in ("train", "selection", "test")]
    assert (sum(part.int() for part in labelled) <= 1).all()
    assert chips["test"][0]["mask"].equal(chips["again"][0]["mask"])
    assert not chips["test"][0]["image"].equal(chips["again"][0]["image"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "archive"}, "folders, pairs, images, table"),
        ({"task": "regression"}, "scene-classification"),
        ({"train": ChipsConfig()}, "needs folder"),
        ({"train": ChipsConfig(folder="/nowhere")}, "/nowhere"),
        ({"other_tests": {"test": ChipsConfig()}}, "name of another split"),
        ({"split": SplitConfig(fractions={"selection": 0.001})}, "selection"),
        ({"split": SplitConfig(by="component")}, "semantic-segmentation"),
    ],
)
def test_what_cannot_be_used_is_named(scenes, changes, message):
    with pytest.raises(InputError, match=message):
        load_splits(make(**{"train": scenes} | changes))
