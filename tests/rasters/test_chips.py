"""Chip data sets: what an item holds, in which order, and how bad data sets are refused."""

import pickle

import numpy as np
import pytest
import torch
from affine import Affine
from torch.utils.data import DataLoader

from rasters import IGNORE_INDEX, ChipDataset, component_split
from sensors import InputError, load_sensor

L1C = "sentinel-2-l1c"
CORNER = Affine(10, 0, 300_000, 0, -10, 5_800_000)
BANDS = ["B02", "B03", "B04"]


class TestFolders:
    @pytest.fixture
    def root(self, write_file, digital_numbers):
        for name in ("Forest/b.tif", "Forest/a.TIF", "River/c.tif", "River/.hidden.tif"):
            path = write_file(f"set/{name}", digital_numbers(3, 6, 5))
        (path.parent / "notes.txt").write_text("no chip")
        return path.parents[1]

    def test_items_come_in_the_order_of_their_names(self, root, digital_numbers):
        chips = ChipDataset.from_folders(root, sensor=L1C, bands=BANDS)
        assert chips.ids == ("Forest/a.TIF", "Forest/b.tif", "River/c.tif")
        assert chips.classes == ("Forest", "River")
        assert chips.bands == load_sensor(L1C).select(*BANDS)
        assert (chips.task, chips.multi_label) == ("scene-classification", False)
        item = chips[2]
        assert item["image"].dtype == torch.float32
        np.testing.assert_allclose(item["image"], digital_numbers(3, 6, 5) * 1e-4, rtol=1e-6)
        assert item["valid"].all()
        assert item["valid"].shape == (3, 6, 5)
        assert item["label"].dtype == torch.long
        assert (item["label"], item["id"]) == (1, "River/c.tif")

    def test_classes_may_be_given_in_another_order(self, root):
        chips = ChipDataset.from_folders(root, classes=["River", "Forest"], sensor=L1C, bands=BANDS)
        assert chips.classes == ("River", "Forest")
        assert chips[2]["label"] == 0

    def test_bad_folders_are_named(self, root):
        with pytest.raises(InputError, match="no such folder"):
            ChipDataset.from_folders(root / "absent", sensor=L1C)
        with pytest.raises(InputError, match="expected one folder of images per class"):
            ChipDataset.from_folders(root / "River", sensor=L1C)
        with pytest.raises(InputError, match="'River' is not among the classes Forest"):
            ChipDataset.from_folders(root, classes=["Forest"], sensor=L1C)
        with pytest.raises(InputError, match="class 'Lake' has no image"):
            ChipDataset.from_folders(root, classes=["Forest", "River", "Lake"], sensor=L1C)
        (root / "Desert").mkdir()
        with pytest.raises(InputError, match=r"set/Desert: class 'Desert' has no image"):
            ChipDataset.from_folders(root, sensor=L1C)

    def test_pictures_have_no_location(self, write_file):
        noise = np.random.default_rng(0).integers(0, 255, (3, 8, 8)).astype(np.uint8)
        write_file("set/a/1.png", noise)
        path = write_file("set/b/2.jpg", noise)
        chips = ChipDataset.from_folders(path.parents[1], sensor="rgb-aerial")
        assert chips.ids == ("a/1.png", "b/2.jpg")
        assert chips.locations is None
        assert chips[1]["image"].max() <= 1

    def test_locations_are_the_centres_in_degrees(self, write_file):
        stored = np.full((3, 10, 10), 500, np.uint16)
        east = Affine(10, 0, 499_950, 0, -10, 50)  # the centre lies on the meridian and the equator
        path = write_file("set/a/1.tif", stored, transform=east)
        chips = ChipDataset.from_folders(path.parents[1], sensor=L1C, bands=BANDS)
        np.testing.assert_allclose(chips.locations, [[15, 0]], atol=1e-6)

    def test_a_truncated_chip_is_named(self, root, truncate):
        chips = ChipDataset.from_folders(root, sensor=L1C, bands=BANDS)
        truncate(root / "Forest" / "b.tif", 0.7)
        assert chips[0]["id"] == "Forest/a.TIF"
        with pytest.raises(InputError, match=r"Forest/b.tif: cannot be read"):
            chips[1]
        with pytest.raises(InputError, match=r"Forest/b.tif: cannot be read"):
            list(DataLoader(chips, num_workers=1, multiprocessing_context="fork"))

    def test_bands_in_another_order_are_put_in_the_data_sets(self, write_file, digital_numbers):
        stored = digital_numbers(3, 4, 4)
        write_file("set/a/1.tif", stored, descriptions=BANDS)
        path = write_file("set/a/2.tif", stored[::-1], descriptions=BANDS[::-1])
        chips = ChipDataset.from_folders(path.parents[1], sensor=L1C)
        torch.testing.assert_close(chips[0]["image"], chips[1]["image"])
        write_file("set/a/2.tif", stored[:2], descriptions=BANDS[:2])
        with pytest.raises(InputError, match=r"2.tif: not the bands of the other chips: [^!]*B04"):
            chips[1]

    def test_a_subset_is_a_data_set(self, root):
        chips = ChipDataset.from_folders(root, sensor=L1C, bands=BANDS)
        part = chips.subset([2, 0])
        assert part.ids == ("River/c.tif", "Forest/a.TIF")
        assert (len(part), part[0]["label"]) == (2, 1)
        assert len(part.locations) == 2
        assert part.classes == chips.classes

    def test_it_travels_to_workers(self, root):
        chips = pickle.loads(pickle.dumps(ChipDataset.from_folders(root, sensor=L1C, bands=BANDS)))
        batch = next(iter(DataLoader(chips, batch_size=3)))
        assert batch["image"].shape == (3, 3, 6, 5)
        assert batch["label"].tolist() == [0, 0, 1]

    def test_the_cache_keeps_what_was_read_from_being_changed_or_read_again(self, root):
        chips = ChipDataset.from_folders(root, cache=True, sensor=L1C, bands=BANDS)
        first = chips[0]["image"].clone()
        chips[0]["image"].zero_()
        (root / "Forest" / "a.TIF").unlink()
        torch.testing.assert_close(chips[0]["image"], first)
        chips.forget()
        with pytest.raises(InputError, match=r"a\.TIF"):
            chips[0]

    @pytest.mark.parametrize("size", [3, 4, 9])
    def test_a_chip_size_crops_or_pads_around_the_centre(self, root, size):
        whole = ChipDataset.from_folders(root, sensor=L1C, bands=BANDS)[0]["image"]
        item = ChipDataset.from_folders(root, chip_size=size, sensor=L1C, bands=BANDS)[0]
        assert item["image"].shape == (3, size, size)
        assert item["valid"].sum() == 3 * min(size, 6) * min(size, 5)
        if size == 3:
            torch.testing.assert_close(item["image"], whole[:, 1:4, 1:4])


class TestImages:
    @pytest.fixture
    def folder(self, write_file, digital_numbers):
        for name in ("b", "a"):
            path = write_file(f"set/{name}.tif", digital_numbers(3, 20, 24))
        return path.parent

    def test_a_folder_of_images_needs_no_labels(self, folder):
        chips = ChipDataset.from_images(folder, sensor=L1C, bands=BANDS)
        assert chips.ids == ("a.tif", "b.tif")
        assert (chips.task, chips.classes) == ("similarity-search", ())
        assert set(chips[0]) == {"image", "valid", "id"}
        assert chips[0]["image"].shape == (3, 20, 24)
        batch = next(iter(DataLoader(chips, batch_size=2)))
        assert batch["image"].shape == (2, 3, 20, 24)
        assert len(chips.content_digest()) == 64

    def test_a_pattern_and_a_list(self, folder):
        one = ChipDataset.from_images(str(folder / "a*.tif"), sensor=L1C, bands=BANDS)
        assert one.ids == ("a.tif",)
        files = [folder / "b.tif", folder / "a.tif"]
        assert ChipDataset.from_images(files, sensor=L1C, bands=BANDS).ids == ("a.tif", "b.tif")
        for nothing in ([], folder / "none"):
            with pytest.raises(InputError, match="image"):
                ChipDataset.from_images(nothing, sensor=L1C, bands=BANDS)

    def test_tiles_cover_every_image(self, folder):
        chips = ChipDataset.from_images(folder, tile=16, sensor=L1C, bands=BANDS)
        assert chips.ids[:4] == (
            *("a.tif[0:16,0:16]", "a.tif[0:16,16:32]"),
            *("a.tif[16:32,0:16]", "a.tif[16:32,16:32]"),
        )
        assert len(chips) == 8
        assert {tuple(chips[number]["image"].shape) for number in range(8)} == {(3, 16, 16)}
        assert sum(int(chips[number]["valid"].sum()) for number in range(4)) == 3 * 20 * 24


class TestPairs:
    @pytest.fixture
    def scene(self, write_file, digital_numbers):
        stored = digital_numbers(3, 20, 24)
        mask = np.zeros((20, 24), np.uint8)
        mask[2:5, 3:9] = 1
        mask[12:18, 14:20] = 4
        image = write_file("images/s_img.tif", stored, descriptions=BANDS)
        return image, write_file("masks/s_label.tif", mask)

    def test_masks_hold_class_indices_and_ignored_pixels(self, write_file, digital_numbers):
        stored, mask = digital_numbers(3, 4, 4), np.array([[0, 1, -1, 255]] * 4, np.int16)
        image = write_file("a.tif", stored, descriptions=BANDS)
        chips = ChipDataset.from_pairs(
            image, write_file("m.tif", mask), classes=["land", "water"], sensor=L1C
        )
        assert chips.task == "semantic-segmentation"
        assert chips[0]["mask"].dtype == torch.long
        assert chips[0]["mask"][0].tolist() == [0, 1, IGNORE_INDEX, IGNORE_INDEX]

    def test_the_masks_own_nodata_is_ignored(self, write_file, digital_numbers):
        image = write_file("a.tif", digital_numbers(3, 1, 3), descriptions=BANDS)
        mask = write_file("m.tif", np.array([[0, 1, 7]], np.uint8), nodata=7)
        chips = ChipDataset.from_pairs(image, mask, classes=["land", "water"], sensor=L1C)
        assert chips[0]["mask"].tolist() == [[0, 1, IGNORE_INDEX]]
        zero = write_file("n.tif", np.array([[0, 1, 1]], np.uint8), nodata=0)
        chips = ChipDataset.from_pairs(image, zero, classes=["land", "water"], sensor=L1C)
        assert chips[0]["mask"].tolist() == [[IGNORE_INDEX, 1, 1]]

    def test_a_label_map_names_stored_numbers_and_ignores_all_others(self, scene):
        chips = ChipDataset.from_pairs(
            *scene, label_map={4: "water", 1: "wood", 9: "wood"}, sensor=L1C
        )
        assert chips.classes == ("water", "wood")
        mask = chips[0]["mask"]
        assert mask[13, 15] == 0
        assert mask[3, 4] == 1
        assert mask[0, 0] == IGNORE_INDEX

    def test_a_label_outside_the_classes_is_refused_with_file_and_number(self, scene):
        chips = ChipDataset.from_pairs(*scene, classes=["a", "b", "c", "d"], sensor=L1C)
        with pytest.raises(InputError, match=r"s_label.tif: label 4 is outside the 4 classes"):
            chips[0]
        with pytest.raises(InputError, match="names water, which is not among the classes a, b"):
            ChipDataset.from_pairs(*scene, classes=["a", "b"], label_map={1: "water"}, sensor=L1C)
        with pytest.raises(InputError, match="name the classes"):
            ChipDataset.from_pairs(*scene, sensor=L1C)

    def test_a_mask_of_another_size_or_place_is_refused(self, scene, write_file):
        image, _ = scene
        small = write_file("small.tif", np.zeros((10, 12), np.uint8))
        with pytest.raises(InputError, match="a mask of 10 x 12 pixels beside an image of 20 x 24"):
            ChipDataset.from_pairs(image, small, classes=["a"], sensor=L1C)[0]
        away = write_file(
            "away.tif", np.zeros((20, 24), np.uint8), transform=Affine(10, 0, 0, 0, -10, 0)
        )
        with pytest.raises(InputError, match="lies elsewhere"):
            ChipDataset.from_pairs(image, away, classes=["a"], sensor=L1C)[0]
        chips = ChipDataset.from_pairs(image, away, classes=["a"], same_grid=True, sensor=L1C)
        assert chips[0]["mask"].max() == 0

    def test_folders_and_patterns_go_together_by_name(self, write_file, digital_numbers):
        for place in ("x", "y"):
            write_file(f"i/{place}_S1.tif", digital_numbers(3, 4, 4), descriptions=BANDS)
            write_file(f"m/{place}_label.png", np.full((1, 4, 4), place == "y", np.uint8))
            image = write_file(f"s/{place}/image.tif", digital_numbers(3, 4, 4), descriptions=BANDS)
            write_file(f"s/{place}/mask.tif", np.full((4, 4), place == "y", np.uint8))
        root = image.parents[2]
        by_folder = ChipDataset.from_pairs(root / "i", root / "m", classes=["a", "b"], sensor=L1C)
        assert by_folder.ids == ("x_S1.tif", "y_S1.tif")
        by_pattern = ChipDataset.from_pairs(
            f"{root}/s/*/image.tif", f"{root}/s/*/mask.tif", classes=["a", "b"], sensor=L1C
        )
        assert by_pattern.ids == ("x/image.tif", "y/image.tif")
        for chips in (by_folder, by_pattern):
            assert [int(chips[i]["mask"].max()) for i in range(2)] == [0, 1]
        (root / "m" / "x_label.png").unlink()
        with pytest.raises(InputError, match=r"x_S1.tif: no mask of that name"):
            ChipDataset.from_pairs(root / "i", root / "m", classes=["a", "b"], sensor=L1C)
        with pytest.raises(InputError, match="2 images and 1 masks"):
            ChipDataset.from_pairs([image, image], [image], classes=["a"], sensor=L1C)

    def test_labels_may_be_a_layer_of_the_images_own_file(self, write_file):
        stored = np.full((4, 3, 3), 700, np.int16)
        stored[3] = [[10, 20, 10]] * 3
        image = write_file("set/a.tif", stored, descriptions=[*BANDS, "cover"])
        chips = ChipDataset.from_pairs(
            image.parent, mask_layer="cover", label_map={10: "tree", 20: "shrub"}, sensor=L1C
        )
        assert [band.name for band in chips.bands] == BANDS
        assert chips[0]["mask"][0].tolist() == [0, 1, 0]
        with pytest.raises(InputError, match="no layer is called 'height'; its layers are B02"):
            ChipDataset.from_pairs(image, mask_layer="height", label_map={1: "a"}, sensor=L1C)[0]
        with pytest.raises(InputError, match="4 layers, expected a mask of one"):
            ChipDataset.from_pairs(image, label_map={1: "a"}, sensor=L1C)[0]

    def test_tiles_cover_every_label_once(self, scene):
        chips = ChipDataset.from_pairs(*scene, label_map={1: "a", 4: "b"}, tile=8, sensor=L1C)
        assert chips.ids == (
            "s_img.tif[0:8,0:8]",
            "s_img.tif[0:8,8:16]",
            "s_img.tif[8:16,8:16]",
            "s_img.tif[8:16,16:24]",
            "s_img.tif[16:24,8:16]",
            "s_img.tif[16:24,16:24]",
        )
        masks = torch.stack([chips[i]["mask"] for i in range(len(chips))])
        assert (masks == 0).sum() == 18
        assert (masks == 1).sum() == 36
        bottom = chips[len(chips) - 1]  # the image has 20 rows
        assert not bottom["valid"][:, 4:].any()
        assert (bottom["mask"][4:] == IGNORE_INDEX).all()
        assert len(np.unique(chips.locations, axis=0)) == 6

    def test_tiles_may_overlap(self, scene):
        chips = ChipDataset.from_pairs(
            *scene, label_map={1: "a", 4: "b"}, tile=16, stride=4, sensor=L1C
        )
        assert chips.ids == tuple(
            f"s_img.tif[{r}:{r + 16},{c}:{c + 16}]" for r in (0, 4) for c in (0, 4, 8)
        )

    def test_polygons_held_out_reach_one_split_only(self, scene):
        image, _ = scene
        mask = np.zeros((20, 24), np.uint8)
        for row in range(0, 20, 4):
            mask[row : row + 2, 2:6] = mask[row : row + 2, 12:16] = 1 + row % 3
        masks = component_split(mask, {"train": 0.5, "test": 0.5}, ignore=0)
        seen = []
        for part in masks.values():
            chips = ChipDataset.from_pairs(
                [image], [part], label_map={1: "a", 2: "b", 3: "c"}, tile=8, sensor=L1C
            )
            seen.append(sum(int((item["mask"] != IGNORE_INDEX).sum()) for item in chips))
        assert seen == [(part != 0).sum() for part in masks.values()]
        assert sum(seen) == (mask != 0).sum()

    def test_a_wanted_gsd_resamples_image_and_mask(self, scene):
        chips = ChipDataset.from_pairs(*scene, label_map={1: "a", 4: "b"}, gsd=20, sensor=L1C)
        assert chips[0]["image"].shape == (3, 10, 12)
        assert set(chips[0]["mask"].unique().tolist()) == {0, 1, IGNORE_INDEX}

    def test_values_per_pixel(self, scene, write_file):
        height = np.random.default_rng(0).normal(10, 3, (2, 20, 24)).astype(np.float32)
        height[0, 0, 0] = -9999
        target = write_file("height.tif", height, nodata=-9999)
        chips = ChipDataset.from_pairs(
            scene[0], target, classes=["height", "depth"], task="regression", sensor=L1C
        )
        mask = chips[0]["mask"]
        assert (mask.dtype, mask.shape) == (torch.float32, (2, 20, 24))
        assert mask[0, 0, 0].isnan()
        assert mask[1, 3, 4] == height[1, 3, 4]
        chips = ChipDataset.from_pairs(
            scene[0], target, classes=["height"], task="regression", sensor=L1C
        )
        with pytest.raises(InputError, match="2 layers of values, expected 1"):
            chips[0]

    def test_groups_are_found_by_id_or_stem(self, scene):
        options = {"label_map": {1: "a"}, "sensor": L1C}
        chips = ChipDataset.from_pairs(*scene, groups={"s_img": "9"}, tile=8, **options)
        assert set(chips.groups) == {"9"}
        assert ChipDataset.from_pairs(*scene, **options).groups is None
        with pytest.raises(InputError, match=r"s_img.tif: no group"):
            ChipDataset.from_pairs(*scene, groups={"t": "1"}, **options)


class TestTable:
    @pytest.fixture
    def folder(self, write_file, digital_numbers):
        for name in "ab":
            write_file(f"set/{name}/B02.tif", digital_numbers(8, 8))
            write_file(
                f"set/{name}/B11.tif",
                digital_numbers(4, 4),
                transform=Affine(20, 0, 3e5, 0, -20, 5.8e6),
            )
            path = write_file(f"set/{name}/VV.tif", np.full((8, 8), -9, np.float32))
        return path.parents[1]

    def table(self, folder, *rows):
        path = folder / "labels.csv"
        path.write_text("\n".join(rows) + "\n")
        return path

    def test_one_label_a_row(self, folder):
        table = self.table(folder, "file,label,place", "a,wood,7", "b,lake,8")
        chips = ChipDataset.from_table(table, group_column="place", sensor=["sentinel-1-grd", L1C])
        assert chips.ids == ("a", "b")
        assert chips.classes == ("lake", "wood")
        assert chips.groups == ("7", "8")
        assert [band.name for band in chips.bands] == ["B02", "B11", "VV"]
        assert chips[0]["image"].shape == (3, 8, 8)
        assert chips[0]["label"] == 1

    def test_several_labels_and_several_files_a_row(self, folder):
        table = self.table(
            folder,
            "file,label",
            "a/B02.tif;a/VV.tif,wood;lake",
            "b/VV.tif; b/B02.tif,wood",
            "b,",
        )
        chips = ChipDataset.from_table(table, multi_label=True, sensor=["sentinel-1-grd", L1C])
        assert chips.multi_label
        assert chips[0]["label"].tolist() == [1, 1]
        assert chips[1]["label"].tolist() == [0, 1]
        assert chips[2]["label"].tolist() == [0, 0]
        assert chips[2]["label"].dtype == torch.float32
        torch.testing.assert_close(chips[1]["image"], chips[2]["image"])
        assert [band.name for band in chips.bands] == ["B02", "VV"]
        assert chips[1]["image"][1].max() == -9

    def test_values(self, folder):
        table = self.table(folder, "image,biomass,height", "a,12.5,3", "b,0,-1e1")
        chips = ChipDataset.from_table(
            table,
            image_column="image",
            label_column=["height", "biomass"],
            task="regression",
            sensor=L1C,
        )
        assert chips.classes == ("height", "biomass")
        assert chips[1]["label"].tolist() == [-10, 0]

    @pytest.mark.parametrize(
        ("rows", "options", "message"),
        [
            (["file,kind", "a,x"], {}, "no column label; the columns are file, kind"),
            (["file,label"], {}, "the table has no row"),
            (["file,label", "c,x"], {}, r"'c' names no existing file"),
            (["file,label", "a,"], {}, "a has no label"),
            (["file,label", "a,x", "b,y"], {"classes": ["x"]}, "b: label 'y' is not among .* x"),
            (["file,label", "a,x", "a,y"], {}, "a: the chip is in the data set twice"),
            (["file,label", "a,tall"], {"task": "regression"}, "a: 'tall' is not a number"),
        ],
    )
    def test_bad_tables_are_refused_with_file_and_row(self, folder, rows, options, message):
        with pytest.raises(InputError, match=message):
            ChipDataset.from_table(self.table(folder, *rows), sensor=L1C, **options)
        with pytest.raises(InputError, match="cannot be read as a CSV"):
            ChipDataset.from_table(folder / "absent.csv", sensor=L1C)


class TestTarget:
    @pytest.fixture(params=["folders", "images", "pairs", "heights", "tags", "values"])
    def chips(self, request, toy_data):
        scene, pixel = {"sensor": "rgb-aerial", "cache": True}, {"tile": 16}
        make = {
            "folders": lambda: ChipDataset.from_folders(toy_data / "scenes", **scene),
            "images": lambda: ChipDataset.from_images(toy_data / "images", **scene),
            "pairs": lambda: ChipDataset.from_pairs(
                toy_data / "images", toy_data / "masks", classes=["a", "b"], **scene, **pixel
            ),
            "heights": lambda: ChipDataset.from_pairs(
                toy_data / "images",
                toy_data / "heights",
                classes=["height"],
                task="regression",
                **scene,
                **pixel,
            ),
            "tags": lambda: ChipDataset.from_table(
                toy_data / "labels.csv", label_column="labels", multi_label=True, **scene
            ),
            "values": lambda: ChipDataset.from_table(
                toy_data / "labels.csv", label_column=["warmth"], task="regression", **scene
            ),
        }
        return make[request.param]()

    def test_it_is_that_of_the_item(self, chips):
        part = chips.subset(range(len(chips) - 1, -1, -2))
        for index, chip in enumerate(part):
            wanted = chip.get("mask", chip.get("label"))
            found = part.target(index)
            if chips.task == "similarity-search":
                assert found is wanted is None
            else:
                assert found.dtype == wanted.dtype
                assert torch.equal(found.nan_to_num(-1), wanted.nan_to_num(-1))
