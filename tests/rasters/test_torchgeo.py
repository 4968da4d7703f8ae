"""TorchGeo's data sets as chips, on files written in the layout of its own classes."""

import sys

import numpy as np
import pytest
import torch
from affine import Affine

from rasters import ChipDataset
from rasters.torchgeo import open_torchgeo, torchgeo_chips
from sensors import InputError

datasets = pytest.importorskip("torchgeo.datasets")
pytestmark = pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")
L1C = "sentinel-2-l1c"
RGB = {"sensor": "rgb-aerial", "bands": ["red", "green", "blue"]}
WATER = {"label_map": {1: "background", 4: "water"}, "task": "semantic-segmentation"}


@pytest.fixture
def eurosat(tmp_path, write_file, digital_numbers):
    """Files of the class `EuroSAT100`: 13 layers, two classes, a list of names for each split."""
    folder = "ds/images/remote_sensing/otherDatasets/sentinel_2/tif"
    for number, name in enumerate(["Forest", "River"]):
        write_file(f"{folder}/{name}/{name}_1.tif", digital_numbers(13, 8, 8) + number)
    (tmp_path / "eurosat-100-train.txt").write_text("Forest_1.jpg\nRiver_1.jpg\n")
    return tmp_path


@pytest.fixture
def loveda(tmp_path, write_file):
    """Files of the class `LoveDA`: pictures and masks whose 0 is no label."""
    rng = np.random.default_rng(0)
    write_file("Train/Urban/images_png/1.png", rng.integers(0, 255, (3, 8, 8), dtype=np.uint8))
    mask = np.zeros((8, 8), np.uint8)
    mask[2:4], mask[4:] = 1, 4
    write_file("Train/Urban/masks_png/1.png", mask)
    return open_torchgeo("LoveDA", {"root": str(tmp_path), "scene": ["urban"]})


class Samples(datasets.NonGeoDataset):
    """A data set of a user's own."""

    def __init__(self, *samples):
        self.samples = samples

    def __getitem__(self, index):
        return self.samples[index]

    def __len__(self):
        return len(self.samples)


def image(layers=3, size=8):
    """Digital numbers of a picture, as floats, as TorchGeo gives them."""
    return torch.arange(layers * size * size).reshape(layers, size, size).float()


def test_scenes_are_stacks_of_the_sensors_bands(eurosat):
    chips = torchgeo_chips(
        open_torchgeo("EuroSAT100", {"root": str(eurosat)}), sensor=L1C, prefix="train/"
    )
    assert isinstance(chips, ChipDataset)
    assert chips.ids == ("train/000000", "train/000001")
    assert chips.classes == ("Forest", "River")
    assert [band.name for band in chips.bands][-3:] == ["B11", "B12", "B8A"]
    assert int(chips[1]["label"]) == int(chips.target(1)) == 1
    files = ChipDataset.from_folders(
        eurosat / "ds/images/remote_sensing/otherDatasets/sentinel_2/tif",
        sensor=L1C,
        bands=[band.name for band in chips.bands],
    )
    assert chips[0]["image"].equal(files[0]["image"])
    assert chips[0]["valid"].equal(files[0]["valid"])
    assert chips.locations is None
    assert chips.groups is None


def test_bands_can_be_named_and_left_out(eurosat):
    dataset = open_torchgeo("EuroSAT100", {"root": str(eurosat), "bands": ["B04", "B03", "B02"]})
    chips = torchgeo_chips(dataset, sensor=L1C, bands=["red", "-", "blue"])
    assert [band.name for band in chips.bands] == ["B04", "B02"]
    dropped = torchgeo_chips(dataset, sensor=L1C, drop_bands=["green"])
    assert dropped.bands == chips.bands
    assert dropped[0]["image"].equal(chips[0]["image"])
    with pytest.raises(InputError, match=r"3 layers do not say which .* 2 names were given"):
        torchgeo_chips(dataset, sensor=L1C, bands=["B04", "B03"])


def test_numbers_become_physical_once(eurosat):
    raw = open_torchgeo("EuroSAT100", {"root": str(eurosat)})
    scaled = torchgeo_chips(raw, sensor=L1C, scale=2e-4)
    assert torch.allclose(scaled[0]["image"], torchgeo_chips(raw, sensor=L1C)[0]["image"] * 2)
    ready = Samples({"image": torch.full((3, 8, 8), 0.25), "label": torch.tensor(0)})
    options = {"sensor": L1C, "bands": ["B04", "B03", "B02"], "classes": ["a", "b"]}
    assert torchgeo_chips(ready, **options, scale=1)[0]["image"].unique().tolist() == [0.25]
    with pytest.raises(InputError, match=r"000000: numbers up to 0\.25 are reflectance already"):
        torchgeo_chips(ready, **options)[0]
    with pytest.raises(InputError, match=r"000000: .*not scaled: set scale"):
        torchgeo_chips(raw, sensor=L1C, scale=1)[0]


def test_what_is_no_measurement_is_invalid():
    stored = image() + 1
    stored[0, 0, 0], stored[1, 2, 3] = torch.nan, 0
    chips = torchgeo_chips(
        Samples({"image": stored, "label": torch.tensor(0)}),
        sensor="sentinel-2-l2a",
        bands=["B04", "B03", "B02"],
        classes=["a", "b"],
    )
    assert (~chips[0]["valid"]).nonzero().tolist() == [[0, 0, 0], [1, 2, 3]]
    assert chips[0]["image"][~chips[0]["valid"]].tolist() == [0, 0]


def test_masks_keep_what_the_label_map_names(loveda):
    chips = torchgeo_chips(loveda, **RGB, **WATER)
    assert chips.classes == ("background", "water")
    assert chips[0]["mask"][:, 0].tolist() == [255, 255, 0, 0, 1, 1, 1, 1]
    assert chips[0]["mask"].dtype == torch.long
    with pytest.raises(InputError, match="name the classes"):
        torchgeo_chips(loveda, **RGB, task="semantic-segmentation")


@pytest.mark.parametrize("size", [4, 12])
def test_chips_are_cropped_and_padded_with_their_masks(loveda, size):
    whole = torchgeo_chips(loveda, **RGB, **WATER)[0]
    item = torchgeo_chips(loveda, **RGB, **WATER, chip_size=size)[0]
    assert item["image"].shape == (3, size, size)
    inner = (slice(2, 6), slice(2, 6)) if size == 4 else (slice(0, 8), slice(0, 8))
    outer = (slice(0, 4), slice(0, 4)) if size == 4 else (slice(2, 10), slice(2, 10))
    assert item["image"][:, *outer].equal(whole["image"][:, *inner])
    assert item["mask"][outer].equal(whole["mask"][inner])
    if size == 12:
        assert not item["valid"][:, :2].any()
        assert item["mask"][:2].eq(255).all()


def test_several_labels_and_numbers():
    several = Samples({"image": image(), "label": torch.tensor([1, 0, 1])})
    chips = torchgeo_chips(several, **RGB, classes=["a", "b", "c"], multi_label=True)
    assert chips[0]["label"].tolist() == [1, 0, 1]
    heights = Samples({"image": image(), "label": torch.tensor(2.5)})
    chips = torchgeo_chips(heights, **RGB, classes=["height"], task="regression")
    assert chips[0]["label"].tolist() == [2.5]
    maps = Samples({"image": image(), "mask": torch.full((1, 8, 8), 2.5)})
    chips = torchgeo_chips(maps, **RGB, classes=["height"], task="regression")
    assert chips[0]["mask"].shape == (1, 8, 8)
    aged = Samples({"picture": image(), "age": torch.tensor(3.0)})
    named = {"image_key": "picture", "target_key": "age", "classes": ["age"]}
    assert torchgeo_chips(aged, **RGB, **named, task="regression")[0]["label"] == 3


@pytest.fixture
def geo_dataset(write_file, tmp_path):
    """Images and masks of a scene, as TorchGeo joins them by place."""

    class Masks(datasets.RasterDataset):
        is_image = False

    profile = {"crs": "EPSG:32633", "transform": Affine(10, 0, 500000, 0, -10, 5800000)}
    write_file("images/a.tif", np.arange(768).reshape(3, 16, 16).astype(np.uint8), **profile)
    write_file(
        "masks/a.tif", np.repeat(np.arange(16, dtype=np.uint8) // 8, 16).reshape(16, 16), **profile
    )
    return datasets.RasterDataset(tmp_path / "images") & Masks(tmp_path / "masks")


def test_a_geo_dataset_is_cut_into_tiles_with_their_places(geo_dataset):
    options = RGB | {"classes": ["north", "south"], "task": "semantic-segmentation"}
    chips = torchgeo_chips(geo_dataset, **options, tile=8)
    assert len(chips) == 4
    assert sorted(int(chip["mask"].unique()) for chip in chips) == [0, 0, 1, 1]
    assert all(chips.target(n).equal(chip["mask"]) for n, chip in enumerate(chips))
    assert {tuple(chip["image"].shape) for chip in chips} == {(3, 8, 8)}
    latitudes = {int(chips[n]["mask"].unique()): chips.locations[n, 1] for n in range(4)}
    assert latitudes[0] > latitudes[1]
    assert abs(chips.locations[:, 0] - 15).max() < 0.01
    with pytest.raises(InputError, match="IntersectionDataset is not cut into chips: give tile"):
        torchgeo_chips(geo_dataset, **options)
    with pytest.raises(InputError, match="none as large as the tile"):
        torchgeo_chips(geo_dataset, **options, tile=99)


def test_the_digest_tells_contents_apart(eurosat):
    def digest(**options):
        raw = open_torchgeo("EuroSAT100", {"root": str(eurosat)})
        return torchgeo_chips(raw, sensor=L1C, **options).content_digest()

    assert digest() == digest(cache=True)
    assert digest() != digest(scale=2e-4)
    assert digest() != digest(chip_size=4)


@pytest.mark.parametrize(
    ("samples", "options", "message"),
    [
        ({"image": image()}, {}, "samples of TorchGeo's Samples have no label; they have image"),
        ({"img": image(), "label": torch.tensor(0)}, {}, "have no image; they have img, label"),
        ({"image": image(), "label": torch.tensor(2)}, {}, "label 2 is not one of the 2 classes"),
        ({"image": image(), "label": torch.tensor([0, 1])}, {}, "several need multi_label"),
        (
            {"image": image(), "label": torch.tensor([0, 1, 1])},
            {"multi_label": True},
            r"label of shape \(3,\), expected one number for each of a, b",
        ),
        ({"image": image()[None], "label": torch.tensor(0)}, {"bands": ["red"]}, "expected"),
    ],
)
def test_samples_that_do_not_fit_are_named(samples, options, message):
    with pytest.raises(InputError, match=message):
        torchgeo_chips(Samples(samples), **(RGB | {"classes": ["a", "b"]} | options))[0]


def test_data_sets_that_cannot_be_made_are_named(tmp_path):
    with pytest.raises(InputError, match="'Sat' is not a data set of torchgeo"):
        open_torchgeo("Sat", {})
    with pytest.raises(InputError, match="'DatasetNotFoundError' is not a data set"):
        open_torchgeo("DatasetNotFoundError", {})
    with pytest.raises(InputError, match=r"EuroSAT100 cannot be made .*not found"):
        open_torchgeo("EuroSAT100", {"root": str(tmp_path)})
    with pytest.raises(InputError, match=r"EuroSAT100 cannot be made .*AssertionError"):
        open_torchgeo("EuroSAT100", {"root": str(tmp_path), "split": "all"})
    with pytest.raises(InputError, match=r"cannot be made .*place"):
        open_torchgeo("EuroSAT100", {"place": "here"})
    with pytest.raises(InputError, match="holds no sample"):
        torchgeo_chips(Samples(), sensor=L1C)


def test_the_extra_is_named_where_it_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchgeo.datasets", None)
    with pytest.raises(InputError, match=r"pip install 'terraguild\[torchgeo\]'"):
        open_torchgeo("EuroSAT", {})
