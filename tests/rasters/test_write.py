"""Writing: exact round trips, class maps that show names and colours, all or nothing."""

import json
from xml.etree import ElementTree

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from affine import Affine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from rasterio.crs import CRS
from rasterio.windows import Window
from rio_cogeo.cogeo import cog_validate

from rasters import (
    RasterImage,
    RasterWriter,
    class_colors,
    read_raster,
    write_class_map,
    write_raster,
)
from sensors import InputError, load_sensor

TRANSFORM = Affine(10.00031, 0, 600895.0022, 0, -9.9992, 4327269.8554)
UTM = CRS.from_epsg(32630)
NAMES = ["water", "forest & scrub", "crops"]


def is_cog(path):
    valid, errors, warnings = cog_validate(path, quiet=True)
    return valid and not errors and not warnings


def files_of(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(
    ("crs", "transform"),
    [
        (UTM, TRANSFORM),
        (CRS.from_epsg(4326), Affine(8.983152841195215e-05, 0, 93.7, 0, -8.98e-05, 26.77)),
        (None, Affine.identity()),
        (None, TRANSFORM),
    ],
)
def test_an_image_comes_back_exactly_as_it_was(tmp_path, crs, transform):
    bands = (
        *load_sensor("sentinel-2-l2a").select("B04", "B8A"),
        *load_sensor("sentinel-1-grd").select("VV"),
    )
    rng = np.random.default_rng(0)
    valid = rng.random((3, 700, 530)) > 0.1
    pixels = np.where(valid, rng.normal(size=valid.shape), 0).astype(np.float32) * 0.1
    image = RasterImage(pixels, valid, bands, transform, crs)
    write_raster(tmp_path / "image.tif", image, tags={"ORIGIN": "test"})
    back = read_raster(tmp_path / "image.tif")
    np.testing.assert_array_equal(back.pixels, pixels)
    np.testing.assert_array_equal(back.valid, valid)
    assert (back.bands, back.transform, back.crs) == (bands, transform, crs)
    assert is_cog(tmp_path / "image.tif")
    assert files_of(tmp_path) == ["image.tif"]
    with rasterio.open(tmp_path / "image.tif") as file:
        assert file.descriptions == ("B04", "B8A", "VV")
        assert file.tags()["ORIGIN"] == "test"
        assert file.overviews(1) == [2]


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_physical_pixels_survive_a_round_trip(tmp_path, data):
    shape = data.draw(st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 9)))
    pixels = data.draw(hnp.arrays(np.float32, shape, elements=st.floats(0, 2, width=32)))
    valid = data.draw(hnp.arrays(np.bool_, shape))
    pixels = np.where(valid, pixels, np.float32(0))
    bands = load_sensor("sentinel-2-l1c").channels[: shape[0]]
    write_raster(tmp_path / "a.tif", RasterImage(pixels, valid, bands, TRANSFORM, UTM))
    back = read_raster(tmp_path / "a.tif")
    np.testing.assert_array_equal(back.pixels, pixels)
    np.testing.assert_array_equal(back.valid, valid)
    assert back.bands == bands


class TestClassMap:
    @pytest.fixture
    def path(self, tmp_path):
        classes = np.random.default_rng(0).integers(0, 3, (600, 700)).astype(np.uint8)
        valid = np.ones(classes.shape, dtype=bool)
        valid[:7] = False
        path = tmp_path / "map.tif"
        write_class_map(
            path, classes, class_names=NAMES, transform=TRANSFORM, crs=UTM, valid_HW=valid
        )
        return path

    def test_the_file_itself_has_colours_nodata_and_names(self, path):
        assert is_cog(path)
        with rasterio.open(path) as file:
            assert file.dtypes == ("uint8",)
            assert file.nodata == 255
            assert (file.transform, file.crs) == (TRANSFORM, UTM)
            colors = [file.colormap(1)[index][:3] for index in range(3)]
            assert json.loads(file.tags()["TERRAGUILD_CLASSES"]) == NAMES
            stored = file.read(1)
        assert colors == class_colors(NAMES)
        assert (stored[:7] == 255).all()
        assert set(np.unique(stored[7:])) == {0, 1, 2}

    def test_gdal_sees_the_class_names(self, path, tmp_path):
        # GDAL's own driver copies what it knows of the map into a text file.
        rasterio.shutil.copy(path, tmp_path / "map.vrt", driver="VRT")
        band = ElementTree.parse(tmp_path / "map.vrt").find("VRTRasterBand")
        assert [category.text for category in band.find("CategoryNames")] == NAMES

    def test_the_attribute_table_and_the_qgis_style_agree_with_the_palette(self, path):
        table = ElementTree.parse(f"{path}.aux.xml").find(".//GDALRasterAttributeTable")
        rows = [[cell.text for cell in row] for row in table.findall("Row")]
        expected = zip(range(3), NAMES, class_colors(NAMES), strict=True)
        assert rows == [[str(i), name, *map(str, color)] for i, name, color in expected]
        entries = ElementTree.parse(path.with_suffix(".qml")).findall(".//paletteEntry")
        assert [entry.get("label") for entry in entries] == NAMES
        red, green, blue = class_colors(NAMES)[0]
        assert entries[0].get("color") == f"#{red:02x}{green:02x}{blue:02x}"

    def test_an_image_of_the_same_name_takes_the_sidecars_away(self, path, tmp_path):
        bands = load_sensor("sentinel-2-l1c").select("B04")
        pixels = np.zeros((1, 8, 8), np.float32)
        write_raster(path, RasterImage(pixels, pixels == 0, bands, TRANSFORM, UTM))
        assert files_of(tmp_path) == ["map.tif"]

    def test_an_index_without_a_class_is_refused(self, tmp_path):
        classes = np.array([[0, 3]], np.uint8)
        with pytest.raises(InputError, match="class 3 is in the map, but there are 3 class names"):
            write_class_map(
                tmp_path / "a.tif", classes, class_names=NAMES, transform=TRANSFORM, crs=UTM
            )
        assert files_of(tmp_path) == []


class TestWriter:
    def make(self, path, **changes):
        settings = {
            "count": 2,
            "dtype": "float32",
            "height": 1100,
            "width": 900,
            "transform": TRANSFORM,
            "crs": UTM,
            "nodata": np.nan,
        }
        return RasterWriter(path, **(settings | changes))

    def test_windows_in_any_order_give_the_whole(self, tmp_path):
        whole = np.random.default_rng(0).random((2, 1100, 900), dtype=np.float32)
        windows = [Window(c, r, 300, 220) for r in range(0, 1100, 220) for c in range(0, 900, 300)]
        with self.make(tmp_path / "a.tif") as writer:
            for window in sorted(windows, key=lambda w: -w.col_off)[1:]:
                rows, columns = window.toslices()
                writer.write(whole[:, rows, columns], window)
        missing = sorted(windows, key=lambda w: -w.col_off)[0].toslices()
        whole[:, missing[0], missing[1]] = np.nan
        with rasterio.open(tmp_path / "a.tif") as file:
            np.testing.assert_array_equal(file.read(), whole)
        assert is_cog(tmp_path / "a.tif")
        assert files_of(tmp_path) == ["a.tif"]

    @pytest.mark.parametrize("existing", [False, True])
    def test_after_an_error_the_target_is_as_it_was(self, tmp_path, existing):
        path = tmp_path / "a.tif"
        if existing:
            path.write_text("before")
        tile = np.zeros((2, 100, 100), np.float32)

        def break_off():
            with self.make(path) as writer:
                writer.write(tile, Window(0, 0, 100, 100))
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            break_off()
        assert files_of(tmp_path) == (["a.tif"] if existing else [])
        if existing:
            assert path.read_text() == "before"

    def test_bad_targets_are_refused_before_any_work(self, tmp_path):
        with pytest.raises(InputError, match="does not exist"):
            self.make(tmp_path / "absent" / "a.tif")
        with pytest.raises(InputError, match="a class map has one uint8 layer"):
            self.make(tmp_path / "a.tif", class_names=NAMES)
        (tmp_path / "folder.tif").mkdir()
        with (
            pytest.raises(InputError, match="cannot be written"),
            self.make(tmp_path / "folder.tif") as writer,
        ):
            writer.write(np.zeros((2, 1100, 900), np.float32))
        assert files_of(tmp_path) == ["folder.tif"]

    def test_an_array_of_another_type_is_refused(self, tmp_path):
        with (
            pytest.raises(InputError, match="array of float64, expected float32"),
            self.make(tmp_path / "a.tif") as writer,
        ):
            writer.write(np.zeros((2, 4, 4)), Window(0, 0, 4, 4))
        assert files_of(tmp_path) == []


class TestColors:
    def test_land_cover_has_its_conventional_colours(self):
        names = ["SeaLake", "Forest", "dense_residential", "AnnualCrop", "Pasture", "snowberg"]
        sea, forest, town, crop, pasture, snow = class_colors(names)
        assert max(sea) == sea[2]  # blue
        assert max(forest) == forest[1]  # green ...
        assert sum(forest) < sum(pasture)  # ... and darker than grass
        assert max(town) == town[0]
        assert crop[0] > crop[2] + 100
        assert crop[1] > crop[2] + 100  # yellow
        assert min(snow) > 200

    @settings(max_examples=30, deadline=None)
    @given(
        st.lists(
            st.sampled_from(
                ["water", "inland waters", "sea", "forest", "wood", "Trees", "a", "b", "c", "d"]
                + [f"class {number}" for number in range(60)]
            ),
            max_size=60,
        )
    )
    def test_colours_differ_and_are_always_the_same(self, names):
        colors = class_colors(names)
        assert colors == class_colors(names)
        assert len(set(colors)) == len(names)
        assert all(0 <= channel <= 255 for color in colors for channel in color)
