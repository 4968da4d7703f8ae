import shutil
from pathlib import Path

import numpy as np
import pytest
import rasterio

from rasters import ChipDataset


@pytest.fixture
def data(toy_data, tmp_path) -> Path:
    shutil.copytree(toy_data, tmp_path / "data")
    return tmp_path / "data"


def scenes(folder, **settings):
    return ChipDataset.from_folders(folder / "scenes", **({"sensor": "rgb-aerial"} | settings))


def masks(folder, **settings):
    named = {"sensor": "rgb-aerial", "classes": ["dark", "bright"]} | settings
    return ChipDataset.from_pairs(folder / "images", folder / "masks", **named)


def test_a_data_set_that_was_moved_is_the_same(data):
    before = scenes(data).content_digest(), masks(data).content_digest()
    moved = data.rename(data.parent / "elsewhere")
    assert (scenes(moved).content_digest(), masks(moved).content_digest()) == before
    assert before[0] != before[1]


def test_the_digest_follows_chips_order_and_how_they_are_read(data):
    chips = scenes(data)
    assert chips.content_digest() == scenes(data).content_digest()
    variants = [
        chips,
        chips.subset([0, 1]),
        chips.subset([1, 0]),
        scenes(data, bands=["R", "G"]),
        scenes(data, chip_size=8),
        scenes(data, classes=["roof", "lake", "field"]),
        scenes(data, scale=0.5),
    ]
    assert len({variant.content_digest() for variant in variants}) == len(variants)
    assert chips.subset(range(len(chips))).content_digest() == chips.content_digest()
    assert scenes(data, cache=True).content_digest() == chips.content_digest()


def test_the_digest_follows_windows_and_the_meaning_of_masks(data):
    variants = [
        masks(data),
        masks(data, tile=16),
        masks(data, tile=16, stride=8),
        masks(data, classes=None, label_map={0: "dark", 1: "bright"}),
        masks(data, classes=None, label_map={1: "bright", 0: "dark"}),
        masks(data, ignore=(0,)),
    ]
    assert len({variant.content_digest() for variant in variants}) == len(variants)


@pytest.mark.parametrize("kind", ["images", "masks"])
def test_the_digest_follows_every_byte(data, kind):
    before = masks(data).content_digest()
    file = sorted((data / kind).iterdir())[-1]
    file.write_bytes(file.read_bytes() + b"\0")
    assert masks(data).content_digest() != before


def test_the_digest_follows_masks_that_are_arrays(data):
    images = sorted((data / "images").iterdir())
    with rasterio.open(data / "masks" / "0.tif") as file:
        mask_HW = file.read(1)
    other_HW = np.where(mask_HW == 1, 0, mask_HW)
    one, same, other = (
        ChipDataset.from_pairs(
            images[:1], [array], sensor="rgb-aerial", classes=["dark", "bright"]
        ).content_digest()
        for array in (mask_HW, mask_HW.copy(), other_HW)
    )
    assert one == same != other


def test_every_file_is_read_once(data, monkeypatch):
    opened = []
    keep = Path.open
    monkeypatch.setattr(
        Path, "open", lambda self, *a, **k: opened.append(self) or keep(self, *a, **k)
    )
    chips = masks(data, tile=16)
    opened.clear()
    chips.content_digest()
    chips.subset([0, 1]).content_digest()
    assert len(opened) == len(set(opened)) == 12
