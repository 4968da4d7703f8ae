"""GEO-Bench-2's data sets, from tortillas written here in their layout."""

import pickle

import numpy as np
import pytest
from affine import Affine

from rasters import ChipDataset, read_raster
from rasters.geobench import geobench_chips
from sensors import InputError

L2A = "sentinel-2-l2a"
LAYERS = {"s1": ["VH", "VV"], "s2": ["B04", "B02", "-", "B03"]}


@pytest.fixture
def sample(write_file, pack_tortilla):
    """A sample's bytes: one file a modality, and a mask."""

    def make(name, s2, mask=None):
        radar = np.stack([np.full(s2.shape[1:], -19), np.full(s2.shape[1:], -9)])
        files = {"s1": write_file(f"{name}_s1.tif", radar.astype(np.float32))}
        files["s2"] = write_file(f"{name}_s2.tif", s2)
        if mask is not None:
            files["label"] = write_file(f"{name}_label.tif", mask)
        items = [(key, "GTiff", file.read_bytes(), {}) for key, file in files.items()]
        return pack_tortilla([*items, ("notes", "BYTES", b"dark", {})])

    return make


@pytest.fixture
def scenes(tmp_path, sample, pack_tortilla, digital_numbers):
    """Three scenes in two splits, with the stored numbers of the first."""
    stored = digital_numbers(4, 8, 8)
    rows = [
        ("sample_1", stored, {"labels": ["Forest", "Water"], "kind": "wet", "lat": 47.5}),
        ("sample_0", stored + 1, {"labels": ["Water"], "kind": "dry", "lat": 48.0}),
        ("sample_2", stored + 2, {"labels": [], "kind": "wet", "lat": 49.0}),
    ]
    splits = ["train", "train", "validation"]
    items = [
        (name, "TORTILLA", sample(name, s2), {"tortilla:data_split": split} | columns)
        for (name, s2, columns), split in zip(rows, splits, strict=True)
    ]
    path = tmp_path / "scenes.tortilla"
    path.write_bytes(pack_tortilla(items))
    return path, stored


def read(path, **options):
    given = {"sensor": L2A, "bands": ["B02", "B03", "B04"], "layers": LAYERS, "multi_label": True}
    return geobench_chips(path, **(given | options))


def test_samples_of_a_split_are_stacks_with_their_labels(scenes):
    path, stored = scenes
    chips = read(path, split="train")
    assert isinstance(chips, ChipDataset)
    assert chips.ids == ("scenes.tortilla/sample_0", "scenes.tortilla/sample_1")
    assert chips.classes == ("Forest", "Water")
    assert [chip["label"].tolist() for chip in chips] == [[0, 1], [1, 1]]
    np.testing.assert_allclose(chips[1]["image"], stored[[1, 3, 0]] * 1e-4, rtol=1e-6)
    assert chips.locations.shape == (2, 2)
    assert len(read(path)) == 3


def test_another_sensor_takes_its_own_items(scenes):
    chips = read(scenes[0], sensor="sentinel-1-grd", bands=["VV", "VH"], split="train")
    assert [band.name for band in chips.bands] == ["VV", "VH"]
    assert chips[0]["image"][:, 0, 0].tolist() == [-9, -19]


def test_one_label_and_numbers(scenes):
    chips = read(scenes[0], label_column="kind", multi_label=False, group_column="kind")
    assert [int(chip["label"]) for chip in chips] == [0, 1, 1]
    assert chips.groups == ("dry", "wet", "wet")
    numbers = read(scenes[0], label_column="lat", multi_label=False, task="regression")
    assert [float(chip["label"]) for chip in numbers] == [48.0, 47.5, 49.0]


def test_single_band_items_are_named_by_their_ids(
    tmp_path, write_file, pack_tortilla, digital_numbers
):
    """Of different pixel sizes, as BigEarthNet's own files are."""
    fine, coarse = digital_numbers(8, 8), digital_numbers(4, 4)
    transform = Affine(20, 0, 300_000, 0, -20, 5_800_000)
    files = {
        "B02": write_file("B02.tif", fine),
        "B05": write_file("B05.tif", coarse, transform=transform),
    }
    items = [(name, "GTiff", file.read_bytes(), {}) for name, file in files.items()]
    path = tmp_path / "native.tortilla"
    path.write_bytes(
        pack_tortilla([("a", "TORTILLA", pack_tortilla(items), {"labels": "Forest"})], b"WX")
    )
    chips = geobench_chips(path, sensor=L2A, classes=["Forest", "Water"])
    expected = read_raster(list(files.values()), sensor=L2A)
    assert chips.bands == expected.bands
    np.testing.assert_array_equal(chips[0]["image"], expected.pixels)


def test_masks_are_items_of_their_samples(tmp_path, sample, pack_tortilla, digital_numbers):
    mask = np.repeat(np.array([-1, 0, 1, 1], np.int16), 16).reshape(8, 8)
    for part in range(2):
        content = sample(f"part{part}", digital_numbers(4, 8, 8), mask)
        item = ("sample_0", "TORTILLA", content, {"tortilla:data_split": "train"})
        (tmp_path / f"burns.{part:04d}.part.tortilla").write_bytes(pack_tortilla([item]))
    options = {"multi_label": False, "task": "semantic-segmentation", "mask_item": "label"}
    chips = read(tmp_path / "burns.*.part.tortilla", classes=["land", "burn"], **options)
    assert chips.ids == (
        "burns.0000.part.tortilla/sample_0",
        "burns.0001.part.tortilla/sample_0",
    )
    assert chips[0]["mask"][:, 0].tolist() == [255, 255, 0, 0, 1, 1, 1, 1]
    tiles = read(tmp_path / "burns.0000.part.tortilla", label_map={1: "burn"}, tile=4, **options)
    assert len(tiles) == 2
    assert all((tile["mask"] == 0).all() for tile in tiles)
    with pytest.raises(InputError, match=r"no item 'mask'; there are s1, s2, label, notes"):
        read(tmp_path / "burns.*.tortilla", classes=["a"], **(options | {"mask_item": "mask"}))[0]


def test_the_digest_tells_contents_apart_wherever_they_lie(scenes, tmp_path):
    path, _ = scenes
    digest = read(path, split="train").content_digest()
    (tmp_path / "elsewhere").mkdir()
    moved = path.rename(tmp_path / "elsewhere" / path.name)
    assert read(moved, split="train").content_digest() == digest
    content = bytearray(moved.read_bytes())
    place = content.index(np.array([-19, -9] * 8, np.float32).tobytes())
    content[place : place + 4] = np.float32(-18).tobytes()
    moved.write_bytes(content)
    assert read(moved, split="train").content_digest() != digest


class Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return self.path.__class__.touch, (self.path,)


def test_nothing_is_unpickled(tmp_path, pack_tortilla):
    """Not even where an item is a pickle; it is no image, so it is left out."""
    trap = pickle.dumps(Trap(tmp_path / "ran"))
    item = ("s2", "PICKLE", trap, {})
    path = tmp_path / "trap.tortilla"
    path.write_bytes(pack_tortilla([("a", "TORTILLA", pack_tortilla([item]), {"labels": "x"})]))
    with pytest.raises(InputError, match=r"trap.tortilla/a: the folder holds no image"):
        read(path, multi_label=False)[0]
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "val"}, "no split is called 'val'; there are train, validation"),
        ({"label_column": "label"}, "not every sample has label; columns: .*labels"),
        ({"group_column": "place"}, "not every sample has place"),
        ({"classes": ["Water"]}, "sample_1: label 'Forest' is not among the classes Water"),
        ({"bands": ["B08"]}, "no band is called 'B08' in these files: they hold B04, B02, B03"),
    ],
)
def test_what_is_missing_is_named(scenes, options, message):
    with pytest.raises(InputError, match=message):
        read(scenes[0], **options)


def test_files_that_are_none_are_named(scenes, tmp_path):
    path, _ = scenes
    whole = path.read_bytes()
    with pytest.raises(InputError, match=r"absent.tortilla: no such file"):
        read(tmp_path / "absent.tortilla")
    for content in (b"", b"PK" + whole[2:], whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"scenes.tortilla: not a tortilla, or truncated"):
            read(path)
    path.write_bytes(whole.replace(b"PAR1", b"PAR0"))
    with pytest.raises(InputError, match=r"scenes.tortilla: its index cannot be read"):
        read(path)


def test_items_out_of_place_are_named(tmp_path, pack_tortilla):
    path = tmp_path / "odd.tortilla"
    row = {"labels": "x"}
    path.write_bytes(pack_tortilla([("a", "TORTILLA", b"", row), ("a", "TORTILLA", b"", row)]))
    with pytest.raises(InputError, match="two items are called a"):
        read(path, multi_label=False)
    path.write_bytes(pack_tortilla([("a", "TORTILLA", b"x", row | {"tortilla:length": 10**9})]))
    with pytest.raises(InputError, match="item a reaches beyond the file"):
        read(path, multi_label=False)
    inner = pack_tortilla([("s2", "GTiff", b"x" * 100, {})])
    path.write_bytes(pack_tortilla([("a", "TORTILLA", inner[:-10], row)]))
    with pytest.raises(InputError, match="truncated"):
        read(path, multi_label=False)
