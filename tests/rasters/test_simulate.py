"""Simulated scenes: reproducible, co-registered, plausible, and always called simulated."""

import json
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import rasterio
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from rasters import _clouds, _radar, _spectra
from rasters.read import read_raster
from rasters.simulate import CLASSES, SimulatedScene, simulate_scene, write_scene
from sensors import Band, BandPlan, InputError, SarChannel, load_sensor

SEED, SIZE = 3, 96


@pytest.fixture(scope="module")
def scene() -> SimulatedScene:
    return simulate_scene(SEED, size=SIZE)


@pytest.fixture(scope="module")
def cloudy() -> SimulatedScene:
    return simulate_scene(SEED, size=SIZE, cloud_cover=0.4)


def arrays(scene: SimulatedScene) -> dict[str, np.ndarray]:
    return {
        "sentinel2": scene.sentinel2.pixels,
        "sentinel1": scene.sentinel1.pixels,
        "enmap": scene.enmap.pixels,
        "labels": scene.labels_HW,
        "cloud": scene.cloud_HW,
    }


def band(image, name: str) -> np.ndarray:
    return image.pixels[[channel.name for channel in image.bands].index(name)]


def class_mean(scene: SimulatedScene, layer: np.ndarray, name: str) -> float:
    return float(layer[scene.labels_HW == scene.classes.index(name)].mean())


def nearest(image, wavelength: float) -> np.ndarray:
    centers = np.array([channel.center_wavelength for channel in image.bands])
    return image.pixels[np.abs(centers - wavelength).argmin()]


def test_same_seed_gives_the_same_bytes(cloudy):
    again = arrays(simulate_scene(SEED, size=SIZE, cloud_cover=0.4))
    assert {k: v.tobytes() for k, v in arrays(cloudy).items()} == {
        k: v.tobytes() for k, v in again.items()
    }


def test_another_seed_gives_another_scene(scene):
    other = arrays(simulate_scene(SEED + 1, size=SIZE))
    for name in ("sentinel2", "sentinel1", "enmap", "labels"):
        assert not np.array_equal(arrays(scene)[name], other[name]), name


def test_clouds_touch_only_optical_images(scene, cloudy):
    assert np.array_equal(scene.labels_HW, cloudy.labels_HW)
    assert np.array_equal(scene.sentinel1.pixels, cloudy.sentinel1.pixels)
    assert not np.array_equal(scene.sentinel2.pixels, cloudy.sentinel2.pixels)
    assert not np.array_equal(scene.enmap.pixels, cloudy.enmap.pixels)


@pytest.mark.parametrize("cover", [0.0, 0.15, 0.5, 0.9, 1.0])
def test_cloud_cover_is_the_fraction_asked_for(cover):
    clouds = _clouds.draw_clouds(np.random.default_rng(0), 128, cover, 10)
    assert clouds.mask_HW.mean() == pytest.approx(cover, abs=0.02)


def test_clouds_are_bright_and_shadows_dark(scene, cloudy):
    clear, covered = band(scene.sentinel2, "B02"), band(cloudy.sentinel2, "B02")
    assert np.median(covered[cloudy.cloud_HW]) > 3 * np.median(clear)
    beside = ~cloudy.cloud_HW
    dark = band(cloudy.sentinel2, "B08")[beside] < 0.7 * band(scene.sentinel2, "B08")[beside]
    assert dark.mean() > 0.05


def test_cloud_edges_are_thin(cloudy):
    clouds = _clouds.draw_clouds(np.random.default_rng(0), 128, 0.4, 10)
    between = (clouds.opacity_HW > 0.05) & (clouds.opacity_HW < 0.95)
    assert 0.05 < between.mean() < 0.6
    assert (clouds.opacity_HW == 1).any()


def test_pixels_are_physical(cloudy):
    for image in (cloudy.sentinel2, cloudy.enmap):
        assert np.isfinite(image.pixels).all()
        assert image.pixels.min() >= 0
        assert image.pixels.max() <= 1.2
    decibel = cloudy.sentinel1.pixels
    assert np.isfinite(decibel).all()
    assert np.percentile(decibel, 0.1) > -38
    assert np.percentile(decibel, 99.9) < 8


def test_bands_are_those_of_the_sensors(scene):
    assert [b.name for b in scene.sentinel2.bands] == [
        channel.name for channel in load_sensor("sentinel-2-l2a").channels
    ]
    assert [b.name for b in scene.sentinel1.bands] == ["VV", "VH"]
    assert all(isinstance(b, SarChannel) for b in scene.sentinel1.bands)
    assert scene.enmap.bands == load_sensor("enmap-l2a").channels


def test_enmap_has_no_signal_in_water_vapour(scene):
    blind = [
        b.name
        for b, ok in zip(scene.enmap.bands, scene.enmap.valid[:, 0, 0], strict=True)
        if not ok
    ]
    assert len(blind) == 6
    assert not scene.enmap.pixels[~scene.enmap.valid].any()


def test_vegetation_is_greener_than_soil_and_soil_than_water(scene):
    near, red = band(scene.sentinel2, "B08"), band(scene.sentinel2, "B04")
    ndvi = (near - red) / (near + red + 1e-6)
    forest, bare, water = (
        class_mean(scene, ndvi, name) for name in ("forest", "bare soil", "water")
    )
    assert forest > 0.7
    assert forest > bare + 0.3
    assert bare > water + 0.1


def test_water_is_dark_in_the_short_wave_infrared(scene):
    assert class_mean(scene, band(scene.sentinel2, "B12"), "water") < 0.05
    assert class_mean(scene, band(scene.sentinel2, "B12"), "bare soil") > 0.1


def test_forest_has_a_red_edge(scene):
    forest = (
        (scene.labels_HW == CLASSES.index("forest")).reshape(SIZE // 3, 3, SIZE // 3, 3).all((1, 3))
    )
    assert forest.sum() > 20
    red, edge, near = (nearest(scene.enmap, w)[forest].mean() for w in (0.67, 0.71, 0.78))
    assert red < edge < near
    assert near > 5 * red


def test_radar_orders_the_land_covers(scene):
    for number in range(2):
        returns = [
            class_mean(scene, scene.sentinel1.pixels[number], name)
            for name in ("water", "bare soil", "forest", "built-up")
        ]
        assert returns == sorted(returns)


def test_speckle_has_the_looks_of_the_product():
    power = np.full((2, 256, 256), 0.1, np.float32)
    speckled = _radar.speckle(np.random.default_rng(0), power)
    assert speckled.mean() == pytest.approx(0.1, rel=0.01)
    assert speckled.var() / speckled.mean() ** 2 == pytest.approx(1 / 4.4, rel=0.03)


def test_enmap_in_sentinel2_bands_agrees_with_sentinel2(scene):
    wanted = scene.sentinel2.bands
    plan = BandPlan.match(wanted, scene.enmap.bands).require()
    from_enmap = plan.apply(scene.enmap.pixels)
    blocks = scene.sentinel2.pixels.reshape(len(wanted), SIZE // 3, 3, SIZE // 3, 3).mean((2, 4))
    for number, channel in enumerate(wanted):
        assert from_enmap[number].mean() == pytest.approx(
            blocks[number].mean(), rel=0.06, abs=0.003
        )
        # Pixel by pixel too: both grids cover the same ground.
        if channel.gsd == 10:
            assert np.corrcoef(from_enmap[number].ravel(), blocks[number].ravel())[0, 1] > 0.97


def test_grids_share_a_corner_and_cover_the_same_ground():
    scene = simulate_scene(0, size=100)
    assert scene.sentinel2.transform == scene.sentinel1.transform
    assert scene.sentinel2.crs == scene.enmap.crs
    fine, coarse = scene.sentinel2.transform, scene.enmap.transform
    assert (coarse.c, coarse.f) == (fine.c, fine.f)
    assert scene.sentinel2.pixels.shape[1:] == scene.labels_HW.shape == (100, 100)
    assert scene.enmap.pixels.shape[1:] == (34, 34)
    assert (scene.sentinel2.gsd, scene.enmap.gsd) == (10, 30)


@pytest.mark.parametrize("seed", range(4))
def test_every_scene_holds_most_classes(seed):
    labels = simulate_scene(seed, size=128).labels_HW
    counts = np.bincount(labels.ravel(), minlength=len(CLASSES))
    assert (counts > 0).sum() >= 5
    assert counts.max() < 0.8 * labels.size


def test_land_cover_is_learnable_but_not_trivial():
    linear_model = pytest.importorskip("sklearn.linear_model")

    def pixels(seeds):
        scenes = [simulate_scene(seed, size=96) for seed in seeds]
        x = np.concatenate([s.sentinel2.pixels.reshape(12, -1).T[::7] for s in scenes])
        return x / 0.1, np.concatenate([s.labels_HW.ravel()[::7] for s in scenes])

    model = linear_model.LogisticRegression(max_iter=300).fit(*pixels(range(10, 18)))
    assert 0.75 < model.score(*pixels(range(20, 24))) < 0.95


@given(
    center=st.floats(0.35, 2.5),
    width=st.floats(0.005, 0.2),
    level=st.floats(0, 1),
)
@settings(max_examples=30, deadline=None)
def test_a_flat_spectrum_stays_flat_in_any_band(center, width, level):
    wavelength = np.linspace(0.4, 2.45, 206)
    seen = _spectra.integrate((Band("b", center, width),), wavelength, np.full((206, 1), level))
    assert seen == pytest.approx(np.array([[level]]), abs=1e-9)


def test_a_narrow_band_reads_the_spectrum_at_its_centre():
    wavelength = np.linspace(0.4, 2.45, 206)
    slope = wavelength[:, None] / 3
    seen = _spectra.integrate((Band("b", 1.234, 0.01),), wavelength, slope)
    assert seen[0, 0] == pytest.approx(1.234 / 3, abs=1e-4)


def test_every_spectrum_has_a_named_source():
    folder = resources.files("rasters") / "spectra"
    sources = yaml.safe_load((folder / "SOURCES.yaml").read_text())
    assert set(sources["materials"]) == set(_spectra.material_names())
    for material in sources["materials"].values():
        assert material["members"] > 0
        for name in material["sources"]:
            assert sources["sources"][name].keys() >= {"title", "reference", "kind", "licence"}


def test_reference_reflectance_is_physical():
    text = (resources.files("rasters") / "spectra" / "land_cover.json").read_text()
    columns, *rows = json.loads(text)
    for name in _spectra.material_names():
        values = np.array(rows)[:, columns.index(name)]
        assert ((values > 0) & (values < 1)).all(), name


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"gsd": 7}, "divide"),
        ({"gsd": 0}, "divide"),
        ({"seed": -1}, "negative"),
        ({"size": 4}, "at least 16"),
        ({"cloud_cover": 40}, "0 to 1"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        simulate_scene(**({"seed": 0} | arguments))


def test_another_pixel_size_shows_the_same_kind_of_country():
    scene = simulate_scene(0, size=32, gsd=30)
    assert scene.enmap.pixels.shape[1:] == scene.labels_HW.shape
    assert scene.sentinel2.gsd == 30


@pytest.fixture(scope="module")
def written(cloudy, tmp_path_factory) -> dict[str, Path]:
    return write_scene(tmp_path_factory.mktemp("scene") / "new" / "folder", cloudy)


def test_written_files_are_readable_and_called_simulated(written, cloudy):
    assert set(written) == {"sentinel2", "sentinel1", "enmap", "labels", "cloud"}
    expected = arrays(cloudy)
    for name, path in written.items():
        assert path.name == f"simulated_{name}.tif"
        with rasterio.open(path) as file:
            assert file.tags()["TERRAGUILD_SIMULATED"] == "yes"
            stored = file.read()
        if name in ("labels", "cloud"):
            assert np.array_equal(stored[0], expected[name])


@pytest.mark.parametrize("name", ["sentinel2", "sentinel1", "enmap"])
def test_written_images_read_back_with_their_bands(written, cloudy, name):
    image, back = getattr(cloudy, name), read_raster(written[name])
    assert back.bands == image.bands
    assert np.array_equal(back.valid, image.valid)
    np.testing.assert_allclose(back.pixels, image.pixels, atol=1e-6)
    assert back.transform == image.transform
