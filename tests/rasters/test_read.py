"""Reading: which layer is which band, one grid, physical units, windows."""

import tracemalloc
import warnings

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rasterio.enums import ColorInterp
from rasterio.windows import Window

from rasters import open_raster, read_raster
from sensors import InputError, load_sensor

L1C = "sentinel-2-l1c"
CORNER = Affine(10, 0, 300_000, 0, -10, 5_800_000)


def coarser(factor):
    return Affine(10 * factor, 0, CORNER.c, 0, -10 * factor, CORNER.f)


def names(image):
    return [band.name for band in image.bands]


@pytest.mark.parametrize(
    ("description", "sensor", "band"),
    [
        ("B04", L1C, "B04"),
        ("b4", L1C, "B04"),
        ("B8A", L1C, "B8A"),
        ("red", L1C, "B04"),
        ("Red (B04)", L1C, "B04"),
        ("B08 842.0 nm", L1C, "B08"),
        ("665", L1C, "B04"),
        ("665 nm", L1C, "B04"),
        ("0.665", L1C, "B04"),
        ("664.6 Nanometers", L1C, "B04"),
        ("1.61 um", L1C, "B11"),
        ("SR_B4", "landsat-8-c2-l2", "SR_B4"),
        ("band 4 reflectance", "landsat-7-etm", "SR_B4"),
        ("band 6 temperature", "landsat-7-etm", "ST_B6"),
        ("Sigma0_VV_db", "sentinel-1-grd", None),
        ("sigma0_VV", "sentinel-1-grd", "VV"),
        ("band 137 (1473.1 Nanometers)", "enmap-l2a", "SWIR046"),
        ("Band 4", L1C, None),  # software's name for any fourth layer
        ("band 4 temperature", "landsat-7-etm", None),
        ("band 4", "enmap-l2a", None),
        ("qa_fmask", "hls-l30", None),
        ("copernicus_dem", "hls-l30", None),
        ("0.600", L1C, None),  # between two bands
        ("", L1C, None),
    ],
)
def test_a_layer_is_the_band_that_its_description_says(write_file, description, sensor, band):
    stored = np.full((1, 2, 2), 20_000, np.uint16) if band == "ST_B6" else np.ones((1, 2, 2), "i2")
    path = write_file("layer.tif", stored, descriptions=[description])
    if band is None:
        with pytest.raises(InputError, match="do not say which band"):
            open_raster(path, sensor=sensor)
        return
    with open_raster(path, sensor=sensor) as raster:
        assert raster.bands == (load_sensor(sensor)[band],)


@pytest.mark.parametrize(
    ("file", "sensor", "band"),
    [
        ("T33UUU_20170216T102101_B8A.jp2", L1C, "B8A"),
        ("T33UUU_20230216T102101_B04_10m.jp2", "sentinel-2-l2a", "B04"),
        ("LC08_L2SP_193024_20230216_02_T1_SR_B4.TIF", "landsat-8-c2-l2", "SR_B4"),
        ("VV.tif", "sentinel-1-grd", "VV"),
    ],
)
def test_a_file_of_one_layer_is_the_band_that_its_name_ends_in(write_file, file, sensor, band):
    path = write_file(file, np.full((1, 16, 16), 9000, np.uint16))
    with open_raster(path, sensor=sensor) as raster:
        assert raster.bands == (load_sensor(sensor)[band],)


def test_layers_of_a_picture_are_its_colours(write_file):
    picture = np.arange(48, dtype=np.uint8).reshape(3, 4, 4)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        image = read_raster(write_file("a.png", picture), sensor="rgb-aerial")
    assert [band.common_name for band in image.bands] == ["red", "green", "blue"]
    np.testing.assert_allclose(image.pixels, picture / 255, rtol=1e-6)
    assert image.crs is None
    assert image.gsd is None


def test_a_transparent_pixel_of_a_picture_is_invalid(write_file):
    picture = np.full((4, 2, 2), 200, np.uint8)
    picture[3, 0, 1] = 0
    image = read_raster(write_file("a.png", picture), sensor="rgb-aerial")
    np.testing.assert_array_equal(image.valid_HW, [[True, False], [True, True]])
    assert image.pixels[:, 0, 1].tolist() == [0, 0, 0]


def test_nothing_is_decided_by_position_or_count(write_file, digital_numbers):
    path = write_file("thirteen.tif", digital_numbers(13, 4, 4))
    with pytest.raises(InputError, match=r"13 layers do not say which band .*thirteen.tif"):
        open_raster(path, sensor=L1C)
    with pytest.raises(InputError, match="2 names were given"):
        open_raster(path, sensor=L1C, bands=["B01", "B02"])


def test_names_in_file_order_serve_files_that_say_nothing(write_file, digital_numbers):
    stored = digital_numbers(3, 4, 4)
    path = write_file("a.tif", stored)
    image = read_raster(path, sensor=L1C, bands=["B8A", "-", "B02"])
    assert names(image) == ["B8A", "B02"]
    np.testing.assert_allclose(image.pixels, stored[[0, 2]] * 1e-4, rtol=1e-6)
    with pytest.raises(InputError, match="B02 twice"):
        open_raster(path, sensor=L1C, bands=["B8A", "B02", "B02"])
    with pytest.raises(InputError, match=r"no band is called 'B99'.*B01, B02"):
        open_raster(path, sensor=L1C, bands=["B8A", "B99", "B02"])


def test_names_select_and_order_the_bands_of_a_file_that_names_them(write_file, digital_numbers):
    stored = digital_numbers(4, 4, 4)
    path = write_file("a.tif", stored, descriptions=["B02", "qa", "B03", "B04"])
    assert names(read_raster(path, sensor=L1C)) == ["B02", "B03", "B04"]
    image = read_raster(path, sensor=L1C, bands=["red", "B02"])
    assert names(image) == ["B04", "B02"]
    np.testing.assert_allclose(image.pixels, stored[[3, 0]] * 1e-4, rtol=1e-6)
    with pytest.raises(InputError, match=r"no band is called 'qa' in these files"):
        open_raster(path, sensor=L1C, bands=["B02", "qa"])


def test_bands_can_be_left_out_by_name(write_file, digital_numbers):
    path = write_file("a.tif", digital_numbers(3, 4, 4), descriptions=["B02", "B03", "B04"])
    assert names(read_raster(path, sensor=L1C, drop_bands=["green"])) == ["B02", "B04"]
    chosen = read_raster(path, sensor=L1C, bands=["B04", "B03"], drop_bands=["B03"])
    assert names(chosen) == ["B04"]
    with pytest.raises(InputError, match=r"no band is called 'B05'.*B02, B03, B04"):
        open_raster(path, sensor=L1C, drop_bands=["B05"])
    with pytest.raises(InputError, match="drop_bands names all the bands"):
        open_raster(path, sensor=L1C, drop_bands=["B02", "B03", "B04"])


def test_a_band_given_twice_is_refused(write_file, digital_numbers):
    stored = digital_numbers(2, 4, 4)
    with pytest.raises(InputError, match="several layers claim to be band B04"):
        open_raster(write_file("a.tif", stored, descriptions=["B04", "red"]), sensor=L1C)
    one, two = (write_file(f"{n}_B04.tif", stored[0]) for n in "ab")
    with pytest.raises(InputError, match=r"band B04 is in .*a_B04.tif and in .*b_B04.tif"):
        open_raster([one, two], sensor=L1C)


def test_a_product_folder_gives_each_band_at_its_finest(write_file, digital_numbers):
    fine, coarse = digital_numbers(8, 8), digital_numbers(4, 4)
    write_file("S2.SAFE/IMG_DATA/R10m/T33_B04_10m.jp2", np.kron(fine, np.ones((4, 4), "u2")))
    write_file(
        "S2.SAFE/IMG_DATA/R20m/T33_B04_20m.jp2",
        np.kron(coarse, np.ones((4, 4), "u2")),
        transform=coarser(2),
    )
    root = write_file("S2.SAFE/QI_DATA/MSK_DETFOO_B04.jp2", fine.repeat(4, 0).repeat(4, 1)).parents[
        1
    ]
    image = read_raster(root, sensor="sentinel-2-l2a")
    assert image.pixels.shape == (1, 32, 32)
    np.testing.assert_allclose(image.pixels[0, ::4, ::4], fine * 1e-4, rtol=1e-6)


def test_several_sensors_stack_and_pictures_beside_them_are_left_out(write_file, digital_numbers):
    write_file("patch/B04.tif", digital_numbers(6, 6))
    write_file("patch/VV.tif", np.full((6, 6), -12.5, np.float32))
    folder = write_file("patch/preview.tif", digital_numbers(3, 6, 6)).parent
    image = read_raster(folder, sensor=["sentinel-1-grd", L1C])
    assert names(image) == ["B04", "VV"]
    assert image.pixels[1].max() == -12.5
    with pytest.raises(InputError, match="several bands of the sensors given"):
        open_raster(folder / "B04.tif", sensor=[L1C, "landsat-8-c2-l2"])


class TestGrid:
    def test_coarser_bands_are_interpolated_onto_the_finest_grid(self, write_file, digital_numbers):
        fine, coarse = digital_numbers(16, 16), digital_numbers(8, 8)
        paths = [
            write_file("B05.tif", coarse, transform=coarser(2)),
            write_file("B04.tif", fine),
        ]
        image = read_raster(paths, sensor=L1C)
        assert names(image) == ["B05", "B04"]
        assert image.gsd == 10
        np.testing.assert_allclose(image.pixels[1], fine * 1e-4, rtol=1e-6)
        padded = np.pad(coarse.astype(float), 1, mode="edge")
        rows = 0.75 * padded[1:-1].repeat(2, 0)
        rows[::2] += 0.25 * padded[:-2]
        rows[1::2] += 0.25 * padded[2:]
        both = 0.75 * rows[:, 1:-1].repeat(2, 1)
        both[:, ::2] += 0.25 * rows[:, :-2]
        both[:, 1::2] += 0.25 * rows[:, 2:]
        np.testing.assert_allclose(image.pixels[0], both * 1e-4, rtol=1e-5)

    def test_a_coarser_gsd_averages(self, write_file, digital_numbers):
        stored = digital_numbers(16, 12)
        stored[4:6, 2] = 0  # no data
        image = read_raster(write_file("B04.tif", stored), sensor=L1C, gsd=20)
        assert image.gsd == 20
        blocks = np.where(stored == 0, np.nan, stored * 1e-4).reshape(8, 2, 6, 2)
        np.testing.assert_allclose(image.pixels[0], np.nanmean(blocks, axis=(1, 3)), rtol=1e-5)
        assert image.valid.all()

    def test_a_gsd_needs_a_georeference(self, write_file):
        path = write_file("a.png", np.zeros((3, 4, 4), np.uint8))
        with pytest.raises(InputError, match="no CRS"):
            open_raster(path, sensor="rgb-aerial", gsd=10)

    def test_where_a_file_does_not_reach_its_band_is_invalid(self, write_file, digital_numbers):
        paths = [
            write_file("B04.tif", digital_numbers(8, 8)),
            write_file("VV.tif", np.full((4, 8), -9, np.float32)),
            write_file("R.tif", np.full((8, 3), 9, np.uint8)),  # no number means "no data" here
        ]
        image = read_raster(paths, sensor=[L1C, "sentinel-1-grd", "rgb-aerial"])
        assert image.valid[0].all()
        assert image.valid[1, :4].all()
        assert not image.valid[1, 4:].any()
        assert image.valid[2, :, :3].all()
        assert not image.valid[2, :, 3:].any()

    def test_a_dead_band_leaves_the_others_of_a_resampled_file_alone(self, write_file):
        stored = np.full((3, 4, 4), 1000, np.uint16)
        stored[0] = 0
        stored[1, 2, 2] = 0
        paths = [
            write_file(
                "a.tif", stored, transform=coarser(2), nodata=0, descriptions=["B05", "B06", "B07"]
            ),
            write_file("B04.tif", np.full((8, 8), 1000, np.uint16)),
        ]
        image = read_raster(paths, sensor=L1C)
        assert image.valid.mean((1, 2)).tolist() == [0, 1, 1, 1]
        # What was not measured is mixed into nothing: neighbours close the hole.
        np.testing.assert_allclose(image.pixels[1:], 0.1, rtol=1e-6)

    def test_another_crs_is_warped(self, write_file, digital_numbers):
        lonlat = Affine(1e-3, 0, 11.9, 0, -1e-3, 52.4)
        paths = [
            write_file(
                "VV.tif", np.full((120, 300), -9, np.float32), crs="EPSG:4326", transform=lonlat
            ),
            write_file("B04.tif", digital_numbers(8, 8)),
        ]
        image = read_raster(paths, sensor=["sentinel-1-grd", L1C])
        assert image.crs.to_epsg() == 32633
        np.testing.assert_allclose(image.pixels[0], -9, rtol=1e-6)

    def test_pictures_of_equal_size_stack_and_others_do_not(self, write_file, digital_numbers):
        plain = {"crs": None, "transform": Affine.identity()}
        one = write_file("B04.tif", digital_numbers(8, 8), **plain)
        image = read_raster(
            [one, write_file("B03.tif", digital_numbers(8, 8), **plain)], sensor=L1C
        )
        assert image.pixels.shape == (2, 8, 8)
        with pytest.raises(InputError, match=r"B02.tif has 4 x 4 pixels and .*B04.tif has 8 x 8"):
            open_raster([one, write_file("B02.tif", digital_numbers(4, 4), **plain)], sensor=L1C)

    def test_files_far_apart_are_refused(self, write_file, digital_numbers):
        paths = [
            write_file("B04.tif", digital_numbers(8, 8)),
            write_file(
                "B03.tif",
                digital_numbers(8, 8),
                transform=Affine(10, 0, 310_000, 0, -10, 5_800_000),
            ),
        ]
        with pytest.raises(InputError, match="do not overlap"):
            open_raster(paths, sensor=L1C)

    def test_contradicting_georeferences_are_refused_until_the_user_decides(
        self, write_file, digital_numbers
    ):
        fine, wrong = digital_numbers(8, 8), digital_numbers(2, 8, 8)[1]
        paths = [
            write_file("B04.tif", fine),
            write_file("B03.tif", wrong, transform=coarser(6)),
        ]
        with pytest.raises(InputError, match=r"one georeference is wrong.*same_grid: true"):
            open_raster(paths, sensor=L1C)
        image = read_raster(paths, sensor=L1C, same_grid=True)
        np.testing.assert_allclose(image.pixels, np.stack([fine, wrong]) * 1e-4, rtol=1e-6)
        assert image.transform == CORNER
        assert read_raster(paths[::-1], sensor=L1C, same_grid=True).gsd == 60


class TestValues:
    def test_the_files_own_scale_wins_over_the_sensors_and_the_users_over_both(self, write_file):
        path = write_file(
            "B04.tif", np.full((2, 2), 300, np.int16), scales=(0.001,), offsets=(-0.1,)
        )
        assert read_raster(path, sensor=L1C).pixels[0, 0, 0] == pytest.approx(0.2)
        assert read_raster(path, sensor=L1C, scale=0.002).pixels[0, 0, 0] == pytest.approx(0.6)
        assert read_raster(path, sensor=L1C, offset=0.1).pixels[0, 0, 0] == pytest.approx(0.4)
        image = read_raster(path, sensor=L1C, scale={"B04": 0.01}, offset={"B04": -2.5})
        assert image.pixels[0, 0, 0] == pytest.approx(0.5)
        assert (image.bands[0].scale, image.bands[0].offset) == (0.01, -2.5)
        with pytest.raises(InputError, match="scale names band B05, but the bands are B04"):
            open_raster(path, sensor=L1C, scale={"B05": 1})

    @pytest.mark.parametrize(
        ("folder", "tags", "asked", "expected"),
        [
            ("S2A_MSIL1C_20170216T102101_N0204_R065", {}, None, 0.3),
            ("S2A_MSIL1C_20230216T102101_N0509_R065", {}, None, 0.2),
            ("S2A_MSIL2A_20180529T115401_N9999_R023", {}, None, 0.3),
            ("chips", {"PROCESSING_BASELINE": "05.09"}, None, 0.2),
            ("chips", {}, "04.00", 0.2),
            ("S2A_MSIL1C_20230216T102101_N0509_R065", {}, "02.04", 0.3),
        ],
    )
    def test_the_processing_baseline_sets_the_offset(
        self, write_file, folder, tags, asked, expected
    ):
        path = write_file(f"{folder}/B04.tif", np.full((2, 2), 3000, np.uint16), tags=tags)
        image = read_raster(path, sensor=L1C, processing_baseline=asked)
        assert image.pixels[0, 0, 0] == pytest.approx(expected)

    def test_the_baseline_of_one_of_several_sensors_is_its_own(self, write_file):
        write_file("p/B04.tif", np.full((2, 2), 3000, np.uint16))
        folder = write_file("p/VV.tif", np.full((2, 2), -9, np.float32)).parent
        image = read_raster(folder, sensor=["sentinel-1-grd", L1C], processing_baseline="05.09")
        np.testing.assert_allclose(image.pixels[:, 0, 0], [0.2, -9], rtol=1e-6)

    def test_what_is_no_measurement_is_invalid_and_zero(self, write_file):
        stored = np.full((2, 2, 3), 3000.0, np.float32)
        stored[0, 0] = [np.nan, np.inf, -np.inf]
        stored[0, 1, :2] = [0, -7]  # the sensor's nodata, the file's nodata
        path = write_file("a.tif", stored, nodata=-7, descriptions=["B04", "B03"])
        image = read_raster(path, sensor=L1C)
        assert image.valid[0].tolist() == [[False] * 3, [False, False, True]]
        assert image.valid[1].all()
        assert (image.pixels[~image.valid] == 0).all()

    def test_a_mask_in_the_file_counts(self, write_file):
        path = write_file("B04.tif", np.full((4, 4), 3000, np.uint16))
        with rasterio.open(path, "r+") as file:
            file.write_mask(np.eye(4, dtype=bool))
        np.testing.assert_array_equal(read_raster(path, sensor=L1C).valid[0], np.eye(4, dtype=bool))

    def test_a_mask_in_a_file_that_is_resampled_counts(self, write_file):
        masked = write_file("p/B05.tif", np.full((4, 4), 3000, "u2"), transform=coarser(2))
        with rasterio.open(masked, "r+") as file:
            file.write_mask(np.eye(4, dtype=bool))
        write_file("p/B04.tif", np.full((8, 8), 3000, "u2"))
        seen_through = np.full((2, 4, 4), 200, np.uint8)
        seen_through[1] = np.eye(4) * 255
        glass = write_file("p/a.tif", seen_through, transform=coarser(2), descriptions=["R"])
        with rasterio.open(glass, "r+") as file:
            file.colorinterp = [ColorInterp.gray, ColorInterp.alpha]
        image = read_raster(masked.parent, sensor=[L1C, "rgb-aerial"])
        assert names(image) == ["B04", "B05", "R"]
        for layer in (1, 2):
            known = np.eye(4, dtype=bool).repeat(2, 0).repeat(2, 1)
            assert image.valid[layer][known].all()
            assert not image.valid[layer][:2, 4:].any()

    def test_a_window_without_data_reads_as_invalid(self, write_file):
        stored = np.zeros((8, 8), np.uint16)
        stored[4:] = 500
        image = read_raster(write_file("B04.tif", stored), sensor=L1C, window=Window(0, 0, 8, 3))
        assert not image.valid.any()
        assert not image.pixels.any()

    def test_reflectance_is_not_scaled_twice(self, write_file):
        path = write_file("B04.tif", np.full((4, 4), 0.25, np.float32))
        with pytest.raises(InputError, match=r"B04.tif: .*reflectance already.*set scale: 1"):
            read_raster(path, sensor=L1C)
        assert read_raster(path, sensor=L1C, scale=1).pixels.max() == 0.25

    def test_unscaled_reflectance_is_refused_with_file_and_scale(self, write_file):
        path = write_file("B04.tif", np.full((4, 4), 1843, np.uint16))
        with pytest.raises(InputError, match=r"B04.tif: band B04: median 1843 .*set scale: 0.0001"):
            read_raster(path, sensor=L1C, scale=1)


class TestBadFiles:
    @pytest.mark.parametrize("name", ["a.tif", "a.png", "a.jpg", "B04.jp2"])
    @pytest.mark.parametrize("fraction", [0, 0.01, 0.5, 0.95])
    def test_a_truncated_file_is_named(self, write_file, truncate, name, fraction):
        noise = np.random.default_rng(0).integers(0, 255, (3, 200, 200)).astype(np.uint8)
        options, profile = {"sensor": "rgb-aerial"}, {}
        if name == "a.tif":
            options["bands"] = list("RGB")
        if name == "B04.jp2":
            noise, options = noise[0], {"sensor": L1C}
            profile = {"BLOCKXSIZE": 64, "BLOCKYSIZE": 64}
        path = truncate(write_file(name, noise, **profile), fraction)
        with pytest.raises(InputError, match=f"{name}: cannot be read as an image"):
            read_raster(path, **options)

    def test_a_truncated_file_that_is_resampled_is_named(self, write_file, truncate):
        noise = np.random.default_rng(0).integers(1, 5000, (64, 64)).astype(np.uint16)
        write_file("p/B04.tif", noise)
        path = write_file("p/B05.tif", noise[:32, :32], transform=coarser(2))
        with (
            open_raster(truncate(path, 0.8).parent, sensor=L1C) as raster,
            pytest.raises(InputError, match=r"B05.tif: cannot be read"),
        ):
            raster.read()

    def test_what_is_not_a_raster_is_named(self, tmp_path):
        text = tmp_path / "notes.tif"
        text.write_text("no image")
        with pytest.raises(InputError, match=r"notes.tif: cannot be read as an image"):
            read_raster(text, sensor=L1C)
        with pytest.raises(InputError, match="no such file"):
            open_raster(tmp_path / "absent.tif", sensor=L1C)
        (tmp_path / "empty").mkdir()
        with pytest.raises(InputError, match="holds no image"):
            open_raster(tmp_path / "empty", sensor=L1C)
        with pytest.raises(InputError, match="no image was given"):
            open_raster([], sensor=L1C)

    def test_a_broken_band_tag_is_named(self, write_file):
        path = write_file("a.tif", np.ones((2, 2, 2), "u1"), tags={"TERRAGUILD_BANDS": "[{}, 3]"})
        with pytest.raises(InputError, match=r"a.tif: its tag TERRAGUILD_BANDS cannot be read"):
            open_raster(path)


class TestWindows:
    @pytest.fixture
    def stack(self, write_file, digital_numbers):
        return [
            write_file("B04.tif", digital_numbers(24, 20)),
            write_file("B11.tif", digital_numbers(12, 10), transform=coarser(2)),
            write_file("B01.tif", digital_numbers(4, 3), transform=coarser(6)),
        ]

    @settings(
        max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
    )
    @given(
        row=st.integers(-30, 30),
        column=st.integers(-30, 30),
        height=st.integers(1, 40),
        width=st.integers(1, 40),
    )
    def test_a_window_is_a_part_of_the_whole(self, stack, row, column, height, width):
        with open_raster(stack, sensor=L1C) as raster:
            whole = raster.read()
            part = raster.read(Window(column, row, width, height))
        assert part.pixels.shape == (3, height, width)
        corner = (part.transform.c, part.transform.f)
        assert corner == (CORNER.c + 10 * column, CORNER.f - 10 * row)
        frame = np.pad(whole.pixels, [(0, 0), (40, 80), (40, 80)])
        known = np.pad(whole.valid, [(0, 0), (40, 80), (40, 80)])
        rows, columns = slice(row + 40, row + 40 + height), slice(column + 40, column + 40 + width)
        np.testing.assert_array_equal(part.valid, known[:, rows, columns])
        np.testing.assert_allclose(part.pixels, frame[:, rows, columns], atol=1e-7)

    @settings(
        max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
    )
    @given(order=st.permutations(range(3)))
    def test_the_order_of_files_changes_nothing_in_meaning(self, stack, order):
        wanted = load_sensor(L1C).select("B01", "B04", "B11")
        reference = read_raster(stack, sensor=L1C).select(wanted)
        image = read_raster([stack[i] for i in order], sensor=L1C)
        assert image.bands == tuple(load_sensor(L1C)[stack[i].stem] for i in order)
        np.testing.assert_array_equal(image.select(wanted).pixels, reference.pixels)
        assert image.transform == reference.transform

    @settings(
        max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
    )
    @given(order=st.permutations(range(4)))
    def test_the_order_of_layers_changes_nothing_in_meaning(
        self, write_file, digital_numbers, order
    ):
        stored, known = digital_numbers(4, 5, 5), ["B02", "B03", "B8A", "B12"]
        path = write_file("a.tif", stored[list(order)], descriptions=[known[i] for i in order])
        image = read_raster(path, sensor=L1C).select(load_sensor(L1C).select(*known))
        np.testing.assert_allclose(image.pixels, stored * 1e-4, rtol=1e-6)

    def test_a_corner_of_a_huge_scene_is_read_alone(self, tmp_path, truncate):
        path = tmp_path / "huge.tif"
        size, tile = 10_000, np.full((1, 256, 256), 1234, np.uint16)
        with rasterio.open(
            path,
            "w",
            driver="GTiff",
            count=1,
            height=size,
            width=size,
            dtype="uint16",
            tiled=True,
            blockxsize=256,
            blockysize=256,
            sparse_ok=True,
            crs="EPSG:32633",
            transform=CORNER,
        ) as file:
            file.write(tile, window=Window(0, 0, 256, 256))
            file.write(tile, window=Window(9728, 9728, 256, 256))
        # The far tile is the file's end: whoever reads it fails.
        path.write_bytes(path.read_bytes()[:-1000])
        with open_raster(path, sensor=L1C, bands=["B04"]) as raster:
            tracemalloc.start()
            corner = raster.read(Window(0, 0, 256, 256))
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            assert corner.valid.all()
            assert corner.pixels.mean() == pytest.approx(0.1234, rel=1e-5)
            assert peak < 4e6  # the scene is 400 MB of float32
            with pytest.raises(InputError, match="truncated"):
                raster.read(Window(9728, 9728, 256, 256))
