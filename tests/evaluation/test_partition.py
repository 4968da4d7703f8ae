from dataclasses import replace

import numpy as np
import pytest
from affine import Affine
from rasterio.crs import CRS

from evaluation.config import load_protocol
from evaluation.dataset import SPLITS, load_data
from evaluation.features import Features, Rows
from evaluation.partition import deal
from rasters import ChipDataset, RasterImage, write_raster
from sensors import InputError, load_sensor
from specialists.named_data import load_data_config


@pytest.fixture(scope="module")
def data(toy_data, toy_configs):
    return load_data(load_data_config("toy_scenes", str(toy_data), toy_configs))


@pytest.fixture(scope="module")
def parts(data):
    """Features that tell which chip they are of."""
    found, start = {}, 0
    for split in SPLITS:
        ids = data.chips[split].ids
        numbers = np.arange(start, start + len(ids))
        start += len(ids)
        found[split] = Features(
            ids=ids,
            groups=tuple(f"g{number}" for number in numbers),
            pooled_ND=numbers[:, None].astype(np.float32),
            columns={"embed": slice(0, 1)},
            levels=[Rows(numbers[:, None, None, None].astype(np.float32))],
            targets=numbers,
            gate=None,
            key="",
        )
    return found


def protocol(**changes):
    return load_protocol({"base": "linear", "name": "changed", **changes})[1]


def test_own_split_is_left_as_it_is(data, parts):
    assert deal(parts, data, protocol()) == parts


def test_random_split_deals_every_chip_once(data, parts):
    dealt = deal(parts, data, protocol(split="random"))
    numbers = np.concatenate([dealt[split].targets for split in SPLITS])
    assert sorted(numbers) == list(range(len(numbers)))
    assert set(dealt["test"].targets) != set(parts["test"].targets)
    for part in dealt.values():
        assert part.levels[0][:].ravel().tolist() == part.targets.tolist()
        assert part.pooled_ND.ravel().tolist() == part.targets.tolist()
        assert part.groups == tuple(f"g{number}" for number in part.targets)
    again = deal(parts, data, protocol(split="random"))
    assert again["test"].ids == dealt["test"].ids


def test_a_chip_of_two_splits_stays_in_one(data, parts):
    twice = {**parts, "test": replace(parts["test"], ids=parts["train"].ids[: len(parts["test"])])}
    dealt = deal(twice, data, protocol(split="random"))
    names = {split: {id_.split("/", 1)[1] for id_ in dealt[split].ids} for split in SPLITS}
    assert not names["train"] & names["test"]


def test_blocks_need_a_place(data, parts):
    with pytest.raises(InputError, match="not georeferenced"):
        deal(parts, data, protocol(split="block", block_size=1.0))


def test_blocks_of_ground_stay_in_one_split(parts, data, tmp_path):
    """Nine places a degree apart, four chips in each."""
    for number in range(36):
        place = Affine(1e-4, 0, number % 9, 0, -1e-4, 50.2 + number // 9 * 0.01)
        image = RasterImage(
            np.full((1, 16, 16), 0.1, np.float32),
            np.ones((1, 16, 16), bool),
            load_sensor("sentinel-2-l2a").select("B04"),
            place,
            CRS.from_epsg(4326),
        )
        folder = tmp_path / ("left" if number % 2 else "right")
        folder.mkdir(exist_ok=True)
        write_raster(folder / f"{number}.tif", image)
    chips = ChipDataset.from_folders(tmp_path)
    order = [int(id_.split("/")[1].split(".")[0]) for id_ in chips.ids]
    ends = np.cumsum([len(parts[split]) for split in SPLITS])
    starts = [0, *ends[:-1]]
    placed = {
        split: chips.subset(range(start, end))
        for split, start, end in zip(SPLITS, starts, ends, strict=True)
    }
    blocks = protocol(split="block", block_size=0.5)
    dealt = deal(parts, replace(data, chips=placed), blocks)
    seen = [{order[number] % 9 for number in dealt[split].targets} for split in SPLITS]
    assert all(seen)
    assert sum(map(len, seen)) == 9
