"""Splits: complete, disjoint, deterministic, and nothing that belongs together is torn apart."""

from itertools import chain

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from rasters import block_split, component_split, hash_split
from sensors import InputError

THREE = {"train": 0.6, "selection": 0.2, "test": 0.2}
names = st.lists(st.text(max_size=8), unique=True, max_size=60)


def members(split):
    return sorted(chain.from_iterable(split.values()))


@given(ids=names, seed=st.integers(0, 9))
def test_a_hash_split_is_complete_and_disjoint(ids, seed):
    split = hash_split(ids, THREE, seed)
    assert list(split) == list(THREE)
    assert members(split) == list(range(len(ids)))
    assert split == hash_split(ids, THREE, seed)


@given(ids=names, added=names, order=st.randoms())
def test_an_id_stays_in_its_split_whatever_comes_or_goes(ids, added, order):
    def home(some):
        return {some[i]: name for name, found in hash_split(some, THREE).items() for i in found}

    more = list(dict.fromkeys([*ids, *added]))
    order.shuffle(more)
    assert home(ids).items() <= home(more).items()


def test_a_hash_split_keeps_the_shares_on_average_and_differs_by_seed():
    ids = [f"chip_{number}.tif" for number in range(5000)]
    split = hash_split(ids, THREE)
    assert len(split["train"]) / 5000 == pytest.approx(0.6, abs=0.03)
    assert len(split["test"]) / 5000 == pytest.approx(0.2, abs=0.03)
    assert split != hash_split(ids, THREE, seed=1)


@pytest.mark.parametrize("fractions", [{"a": 0.5}, {"a": 1.5, "b": -0.5}, {}])
def test_fractions_must_be_shares_of_one(fractions):
    for split in (
        lambda: hash_split(["x"], fractions),
        lambda: block_split(["x"], None, fractions),
        lambda: component_split(np.zeros((2, 2), np.uint8), fractions),
    ):
        with pytest.raises(InputError, match="not shares that sum to 1"):
            split()


@settings(deadline=None)
@given(
    points=st.lists(st.tuples(st.integers(-50, 50), st.integers(-50, 50)), min_size=1, max_size=80),
    seed=st.integers(0, 3),
    order=st.randoms(),
)
def test_blocks_never_straddle_and_order_does_not_matter(points, seed, order):
    locations = np.array(points, dtype=float) + 0.5
    blocks = [tuple(block) for block in np.floor(locations / 10)]
    if len(set(blocks)) < 3:
        with pytest.raises(InputError, match="cannot fill 3 splits"):
            block_split(locations, 10, THREE, seed)
        return
    split = block_split(locations, 10, THREE, seed)
    assert members(split) == list(range(len(points)))
    homes = {block: set() for block in blocks}
    for name, found in split.items():
        assert found
        for position in found:
            homes[blocks[position]].add(name)
    assert all(len(home) == 1 for home in homes.values())
    shuffled = list(range(len(points)))
    order.shuffle(shuffled)
    again = block_split(locations[shuffled], 10, THREE, seed)
    assert {n: sorted(shuffled[i] for i in found) for n, found in again.items()} == split


def test_groups_are_dealt_as_wholes_to_meet_the_shares():
    groups = [f"place {number}" for number in range(50) for _ in range(number % 4 + 1)]
    split = block_split(groups, None, THREE)
    for name, share in THREE.items():
        assert len(split[name]) / len(groups) == pytest.approx(share, abs=0.03)
    assert not {groups[i] for i in split["train"]} & {groups[i] for i in split["test"]}


def test_a_margin_keeps_neighbours_across_a_border_apart():
    row = np.stack([np.arange(100) + 0.5, np.zeros(100)], axis=1)
    touching = block_split(row, 10, {"train": 0.5, "test": 0.5})
    apart = block_split(row, 10, {"train": 0.5, "test": 0.5}, margin=2)

    def nearest(split):
        train, test = row[split["train"], 0], row[split["test"], 0]
        return np.abs(train[:, None] - test).min()

    assert nearest(touching) == 1
    assert nearest(apart) > 2
    assert apart["train"] == touching["train"]
    assert set(apart["test"]) < set(touching["test"])


def test_locations_and_block_size_go_together():
    with pytest.raises(InputError, match=r"give coordinates \(N, 2\)"):
        block_split(np.zeros((4, 2)), None, THREE)
    with pytest.raises(InputError, match=r"give coordinates \(N, 2\)"):
        block_split(["a", "b"], 10, THREE)


class TestComponents:
    @pytest.fixture
    def mask(self):
        rng = np.random.default_rng(3)
        mask = np.zeros((120, 120), np.uint8)
        for row in range(0, 120, 12):
            for column in range(0, 120, 12):
                height, width = rng.integers(2, 9, 2)
                mask[row : row + height, column : column + width] = rng.integers(1, 4)
        return mask

    def test_masks_are_complete_disjoint_and_whole(self, mask):
        masks = component_split(mask, THREE, ignore=0)
        labelled = np.stack([part != 0 for part in masks.values()])
        np.testing.assert_array_equal(labelled.sum(0), mask != 0)
        np.testing.assert_array_equal(sum(masks.values()), mask)
        for label in (1, 2, 3):
            components, count = ndimage.label(mask == label, structure=np.ones((3, 3)))
            for number in range(1, count + 1):
                homes = [(part[components == number] != 0).any() for part in masks.values()]
                assert sum(homes) == 1

    def test_every_class_has_its_share_in_every_split(self, mask):
        masks = component_split(mask, THREE, ignore=0)
        for label in (1, 2, 3):
            total = (mask == label).sum()
            for name, share in THREE.items():
                assert (masks[name] == label).sum() / total == pytest.approx(share, abs=0.05)

    def test_it_depends_on_the_seed_alone(self, mask):
        first, again = (component_split(mask, THREE, ignore=0) for _ in range(2))
        other = component_split(mask, THREE, seed=1, ignore=0)
        assert all((first[name] == again[name]).all() for name in THREE)
        assert any((first[name] != other[name]).any() for name in THREE)

    def test_a_mask_without_labels_is_refused(self):
        with pytest.raises(InputError, match="no label: every pixel is 255"):
            component_split(np.full((4, 4), 255, np.uint8), THREE)
