"""Partitions: every chip has one holder, every holder a chip, and each method does what it says."""

from itertools import pairwise

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from federation.partition import METHODS, partition, see_as
from rasters import ChipDataset
from sensors import InputError, load_sensor
from specialists.splitting import SplitConfig

SIDE = 4
relaxed = settings(
    deadline=None,
    max_examples=30,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


def write(path, pixels, east=300_000.0, north=5_800_000.0):
    """A georeferenced file; its corner is given in metres of UTM zone 33."""
    path.parent.mkdir(parents=True, exist_ok=True)
    layers = pixels if pixels.ndim == 3 else pixels[None]
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        count=len(layers),
        height=SIDE,
        width=SIDE,
        dtype=layers.dtype,
        crs="EPSG:32633",
        transform=Affine(10, 0, east, 0, -10, north),
    ) as file:
        file.write(layers)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """90 georeferenced chips of 10 classes, 3 rows of 30 places 1 km apart."""
    folder = tmp_path_factory.mktemp("scenes")
    draw = np.random.default_rng(0)
    for number in range(90):
        pixels = draw.integers(200, 5000, (4, SIDE, SIDE)).astype(np.uint16)
        place = (300_000 + 1000 * (number // 3), 5_800_000 + 1000 * (number % 3))
        write(folder / f"class_{number % 10}" / f"{number:02d}_p{number // 6}.tif", pixels, *place)
    return ChipDataset.from_folders(
        folder, sensor="sentinel-2-l2a", bands=["B02", "B03", "B04", "B08"]
    )


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """12 chips of pixels; of the first 4 most are land, of the next 4 water, the rest have none."""
    folder = tmp_path_factory.mktemp("pairs")
    for number in range(12):
        mask = np.full((SIDE, SIDE), 255, np.uint8)
        if number < 8:
            # One labelled pixel of the other class; most pixels have no label.
            mask[0, :3], mask[0, 3] = number // 4, 1 - number // 4
        write(folder / "images" / f"{number:02d}.tif", np.full((SIDE, SIDE), 900, np.uint16))
        write(folder / "masks" / f"{number:02d}.tif", mask)
    return ChipDataset.from_pairs(
        folder / "images",
        folder / "masks",
        classes=["land", "water"],
        sensor="sentinel-2-l2a",
        bands=["B04"],
    )


@pytest.fixture(scope="module")
def pictures(toy_data):
    """36 chips without a place, 12 of each of 3 classes."""
    return ChipDataset.from_folders(toy_data / "scenes", sensor="rgb-aerial")


@pytest.fixture(scope="module")
def tags(toy_data):
    """The same chips with several labels: dry, warm; cool, wet; green; and groups p0 to p3."""
    return ChipDataset.from_table(
        toy_data / "labels.csv",
        label_column="labels",
        group_column="place",
        multi_label=True,
        sensor="rgb-aerial",
    )


def check(parts, chips, clients):
    assert len(parts) == clients
    assert all(part == sorted(part) and part for part in parts)
    assert sorted(index for part in parts for index in part) == list(range(len(chips)))


def labels(chips, part):
    return [chips.ids[index].split("/")[0] for index in part]


@relaxed
@given(
    clients=st.integers(1, 90),
    by=st.sampled_from(METHODS),
    seed=st.integers(0, 99),
    alpha=st.floats(1e-3, 1e3),
)
def test_every_chip_has_one_holder_and_every_holder_a_chip(scenes, clients, by, seed, alpha):
    parts = partition(scenes, clients, by, seed=seed, alpha=alpha)
    check(parts, scenes, clients)
    assert parts == partition(scenes, clients, by, seed=seed, alpha=alpha)
    if by != "location":
        sizes = [len(part) for part in parts]
        assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("by", ["iid", "label"])
def test_another_seed_is_another_partition(scenes, by):
    assert partition(scenes, 5, by) != partition(scenes, 5, by, seed=1)


def test_the_partition_of_a_part_indexes_the_part(scenes):
    part = scenes.subset(range(40, 90))
    for by in METHODS:
        check(partition(part, 5, by), part, 5)


class TestLocation:
    @pytest.mark.parametrize("clients", [2, 3, 5, 7])
    def test_every_client_has_a_region_of_its_own(self, scenes, clients):
        parts = partition(scenes, clients, "location")
        sizes = [len(part) for part in parts]
        assert max(sizes) - min(sizes) <= clients
        # The chips lie in a long row from west to east.
        spans = sorted((min(i), max(i)) for i in ([number(scenes, k) for k in p] for p in parts))
        for (_, end), (start, _) in pairwise(spans):
            assert end <= start

    def test_the_order_of_the_chips_has_no_influence(self, scenes):
        order = np.random.default_rng(0).permutation(90)
        shuffled = partition(scenes.subset(order), 4, "location")
        again = [sorted(int(order[index]) for index in part) for part in shuffled]
        assert again == partition(scenes, 4, "location")

    def test_chips_at_one_place_stay_together(self, tmp_path):
        for number in range(20):
            east = 300_000 + 5000 * (number % 4 > 0) + 90_000 * (number % 4 > 2)
            write(tmp_path / f"{number:02d}.tif", np.full((SIDE, SIDE), 900, np.uint16), east)
        chips = ChipDataset.from_images(tmp_path, sensor="sentinel-2-l2a", bands=["B04"])
        parts = partition(chips, 3, "location")
        check(parts, chips, 3)
        assert sorted(len(part) for part in parts) == [5, 5, 10]
        with pytest.raises(InputError, match="3 places cannot be divided among 4 clients"):
            partition(chips, 4, "location")

    @pytest.mark.parametrize("crowded", [0, 2])
    def test_a_crowded_place_leaves_no_client_without_chips(self, tmp_path, crowded):
        for place in range(3):
            for number in range(10 if place == crowded else 1):
                path = tmp_path / f"{place}_{number}.tif"
                write(path, np.full((SIDE, SIDE), 900, np.uint16), 300_000 + 5000 * place)
        chips = ChipDataset.from_images(tmp_path, sensor="sentinel-2-l2a", bands=["B04"])
        parts = partition(chips, 3, "location")
        check(parts, chips, 3)
        assert sorted(len(part) for part in parts) == [1, 1, 10]

    def test_regions_reach_across_the_date_line(self, tmp_path):
        # Zones 60 and 1 meet at 180 degrees.
        for zone, east in ((60, 830_000), (1, 170_000)):
            for step in range(4):
                path = tmp_path / f"{zone}_{step}.tif"
                write(path, np.full((SIDE, SIDE), 900, np.uint16), east, 20_000.0)
                with rasterio.open(path, "r+") as file:
                    file.crs = f"EPSG:{32600 + zone}"
                    north = 20_000 + 100_000 * step
                    file.transform = Affine(10, 0, east, 0, -10, north)
        chips = ChipDataset.from_images(tmp_path, sensor="sentinel-2-l2a", bands=["B04"])
        longitudes = chips.locations[:, 0]
        assert longitudes.min() < -179
        assert longitudes.max() > 179
        steps = [[chips.ids[i].split("_")[1] for i in p] for p in partition(chips, 4, "location")]
        assert sorted(steps) == [[f"{step}.tif"] * 2 for step in range(4)]

    def test_chips_without_a_place_go_by_whole_groups(self, pictures, tags):
        named = SplitConfig(group_pattern=r"_(\d+)")
        for chips, split, groups in (
            (pictures, named, [id_.split("_")[1] for id_ in pictures.ids]),
            (tags, None, tags.groups),
        ):
            parts = partition(chips, 3, "location", split=split)
            check(parts, chips, 3)
            homes = [{groups[index] for index in part} for part in parts]
            assert sum(map(len, homes)) == len(set(groups))
            others = [partition(chips, 3, "location", seed=k, split=split) for k in range(1, 5)]
            assert any(other != parts for other in others)

    def test_what_is_missing_is_named(self, pictures, tags):
        with pytest.raises(InputError, match=r"georeferenced chips, or groups.*group_pattern"):
            partition(pictures, 3, "location")
        with pytest.raises(InputError, match="4 groups of chips cannot be divided among 5"):
            partition(tags, 5, "location")


class TestLabel:
    def test_small_data_and_many_classes_work(self, scenes):
        for seed in range(5):
            parts = partition(scenes, 5, "label", seed=seed)
            check(parts, scenes, 5)
            assert {len(part) for part in parts} == {18}

    def test_the_smaller_alpha_the_fewer_classes_has_a_client(self, scenes):
        def kinds(alpha):
            found = [partition(scenes, 5, "label", alpha=alpha, seed=seed) for seed in range(5)]
            return np.mean([len(set(labels(scenes, part))) for parts in found for part in parts])

        counts = [kinds(alpha) for alpha in (0.05, 0.5, 100)]
        assert counts == sorted(counts)
        assert counts[0] < 5 < 8 < counts[2]

    def test_large_alpha_gives_every_client_its_share_of_every_class(self, pictures):
        for part in partition(pictures, 2, "label", alpha=1e6):
            found = labels(pictures, part)
            assert all(2 <= found.count(name) <= 10 for name in pictures.classes)

    def test_a_chip_of_pixels_counts_as_what_most_of_its_labels_are(self, pairs):
        found = [partition(pairs, 3, "label", alpha=1e-3, seed=seed) for seed in range(30)]
        for parts in found:
            check(parts, pairs, 3)
        # Every client draws nearly one class; sometimes they draw different ones.
        assert [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]] in [sorted(parts) for parts in found]

    def test_a_chip_of_several_labels_counts_as_the_rarest(self, tmp_path):
        rows = ["file,labels"]
        for number in range(12):
            write(tmp_path / f"{number:02d}.tif", np.full((SIDE, SIDE), 900, np.uint16))
            rows.append(f"{number:02d}.tif,{'common;rare' if number < 4 else 'common'}")
        (tmp_path / "labels.csv").write_text("\n".join(rows))
        chips = ChipDataset.from_table(
            tmp_path / "labels.csv",
            label_column="labels",
            multi_label=True,
            sensor="sentinel-2-l2a",
            bands=["B04"],
        )
        found = [partition(chips, 3, "label", alpha=1e-3, seed=seed) for seed in range(30)]
        assert any([0, 1, 2, 3] in parts for parts in found)

    def test_chips_without_classes_are_refused(self, toy_data, scenes):
        values = ChipDataset.from_table(
            toy_data / "labels.csv", label_column="warmth", task="regression", sensor="rgb-aerial"
        )
        with pytest.raises(InputError, match="chips for regression lack"):
            partition(values, 2, "label")
        images = ChipDataset.from_images(toy_data / "images", sensor="rgb-aerial")
        with pytest.raises(InputError, match="chips for similarity-search lack"):
            partition(images, 2, "label")

    def test_no_image_is_read_for_it(self, tmp_path):
        for name in ("field", "lake"):
            for place in range(4):
                write(tmp_path / name / f"{place}.tif", np.full((SIDE, SIDE), 9, np.uint16))
        chips = ChipDataset.from_folders(tmp_path, sensor="sentinel-2-l2a", bands=["B04"])
        for path in tmp_path.glob("*/*.tif"):
            path.unlink()
        check(partition(chips, 3, "label"), chips, 3)


@pytest.mark.parametrize(
    ("clients", "by", "options", "message"),
    [
        (0, "iid", {}, "90 chips cannot be divided among 0 clients"),
        (91, "label", {}, "90 chips cannot be divided among 91 clients"),
        (5, "size", {}, "'size' is not one of iid, location, label"),
        (5, "label", {"alpha": 0.0}, r"alpha 0\.0 .* above 0"),
        (5, "label", {"alpha": float("nan")}, "alpha nan .* above 0"),
    ],
)
def test_what_cannot_be_is_refused(scenes, clients, by, options, message):
    with pytest.raises(InputError, match=message):
        partition(scenes, clients, by, **options)


def test_parts_can_be_seen_by_different_sensors(scenes):
    sensors = ["sentinel-2-l2a", "landsat-8-c2-l2", "planetscope-8b"]
    for sensor, part in zip(sensors, partition(scenes, 3, "iid"), strict=True):
        seen = see_as(scenes.subset(part), sensor)
        assert len(seen) == 30
        assert set(seen.bands) <= set(load_sensor(sensor).channels)
        assert seen[0]["image"].shape == (len(seen.bands), SIDE, SIDE)


def number(chips, index):
    """Of the place from west to east."""
    return int(chips.ids[index].split("/")[1][:2]) // 3
