"""Splits: nothing straddles, shares are kept, and what a method lacks is named."""

import numpy as np
import pytest

from rasters import ChipDataset
from sensors import InputError
from specialists.splitting import SplitConfig, cut, cut_mask, groups_of


@pytest.fixture
def scenes(toy_data):
    return ChipDataset.from_folders(toy_data / "scenes", sensor="rgb-aerial")


def check_partition(parts, total):
    indices = [index for part in parts.values() for index in part]
    assert sorted(indices) == list(range(total))


@pytest.mark.parametrize(
    "config",
    [
        SplitConfig(by="hash"),
        SplitConfig(by="group", group_pattern=r"_(\d+)"),
        SplitConfig(by="group", group_pattern=r"_(\d+)", assign={"selection": ["3", "7"]}),
    ],
)
def test_every_chip_is_in_one_split(scenes, config):
    parts = cut(scenes, config, {"selection": 0.3})
    assert set(parts) == {"train", "selection"}
    check_partition(parts, len(scenes))
    assert len(parts["train"]) > len(parts["selection"]) > 0


def test_groups_are_never_torn(scenes):
    config = SplitConfig(by="group", group_pattern=r"_(\d+)")
    groups = groups_of(scenes, config)
    parts = cut(scenes, config, {"selection": 0.25, "test": 0.25})
    found = [{groups[index] for index in part} for part in parts.values()]
    assert sum(len(group) for group in found) == len(set(groups)) == 12


def test_named_groups_go_where_they_are_told(scenes):
    config = SplitConfig(by="group", group_pattern=r"_(\d+)", assign={"test": ["3"]})
    parts = cut(scenes, config, {})
    assert [scenes.ids[index] for index in parts["test"]] == [
        f"{name}/{name}_3.png" for name in ("field", "lake", "roof")
    ]
    with pytest.raises(InputError, match="names 99"):
        cut(scenes, SplitConfig(by="group", group_pattern=r"_(\d+)", assign={"a": ["99"]}), {})


def test_groups_from_a_table_and_from_the_chips(scenes, toy_data, tmp_path):
    lines = ["chip,place"] + [
        f"{name.split('/')[1][:-4]},{i % 5}" for i, name in enumerate(scenes.ids)
    ]
    table = tmp_path / "places.csv"
    table.write_text("\n".join(lines))
    config = SplitConfig(by="group", group_table=str(table), group_columns=["chip", "place"])
    assert groups_of(scenes, config) == [str(i % 5) for i in range(len(scenes))]
    chips = ChipDataset.from_table(
        toy_data / "labels.csv", label_column="labels", group_column="place", sensor="rgb-aerial"
    )
    assert set(groups_of(chips, SplitConfig(by="group"))) == {"p0", "p1", "p2", "p3"}


@pytest.mark.parametrize(
    ("config", "fractions", "message"),
    [
        (SplitConfig(by="luck"), {"selection": 0.1}, "hash, block, group, component"),
        (SplitConfig(by="block"), {"selection": 0.1}, "block_size"),
        (SplitConfig(by="block", block_size=0.1), {"selection": 0.1}, "georeferenced"),
        (SplitConfig(by="group"), {"selection": 0.1}, "group_pattern"),
        (SplitConfig(by="group", group_pattern=r"(lake)"), {"selection": 0.1}, "no group"),
        (SplitConfig(by="group", group_table="/absent"), {"selection": 0.1}, "/absent"),
        (SplitConfig(), {"selection": 0.6, "test": 0.4}, "above 0 and leave"),
        (SplitConfig(), {"selection": 0.0}, "above 0 and leave"),
    ],
)
def test_what_a_method_lacks_is_named(scenes, config, fractions, message):
    with pytest.raises(InputError, match=message):
        cut(scenes, config, fractions)


def test_polygons_of_a_mask_are_shared_out_whole():
    mask_HW = np.full((40, 40), 255, np.uint8)
    boxes = []
    for number in range(12):
        row, column = divmod(number, 4)
        boxes.append(np.s_[row * 12 + 1 : row * 12 + 9, column * 10 + 1 : column * 10 + 8])
        mask_HW[boxes[-1]] = number % 2
    fractions = {"selection": 0.2, "test": 0.3}
    parts = cut_mask(mask_HW, SplitConfig(by="component"), fractions)
    assert set(parts) == {"train", "selection", "test"}
    labelled = np.stack(list(parts.values())) != 255
    assert (labelled.sum(0) == (mask_HW != 255)).all()
    for part_HW in parts.values():
        assert (part_HW[part_HW != 255] == mask_HW[part_HW != 255]).all()
        assert all(len(np.unique(part_HW[box])) == 1 for box in boxes)


def test_description_says_how():
    assert SplitConfig().describe() == "by hash (selection 0.1), seed 0"
    named = SplitConfig(by="group", assign={"test": ["Spain"]})
    assert named.describe() == "by group (test: Spain)"
