"""`RasterImage`: shapes, ground sample distance, selection by what bands measure."""

import numpy as np
import pytest
from affine import Affine
from rasterio.crs import CRS

from rasters import RasterImage
from sensors import InputError, MissingBandsError, load_sensor

S2 = load_sensor("sentinel-2-l2a")


def make_image(names=("B02", "B04", "B08"), transform=None, crs="EPSG:32633", size=4):
    bands = S2.select(*names)
    pixels = np.arange(len(bands) * size * size, dtype=np.float32).reshape(-1, size, size) / 1000
    return RasterImage(
        pixels,
        np.ones(pixels.shape, dtype=bool),
        bands,
        transform or Affine(10, 0, 300_000, 0, -10, 5_800_000),
        CRS.from_string(crs) if crs else None,
    )


def test_layers_and_bands_must_agree():
    image = make_image()
    with pytest.raises(InputError, match=r"beside 2 bands: expected \(C, H, W\)"):
        RasterImage(image.pixels, image.valid, image.bands[:2], image.transform)
    with pytest.raises(InputError, match="valid of shape"):
        RasterImage(image.pixels, image.valid[:, 1:], image.bands, image.transform)


@pytest.mark.parametrize(
    ("crs", "transform", "metres"),
    [
        ("EPSG:32633", Affine(10, 0, 0, 0, -10, 0), 10),
        ("EPSG:32633", Affine(6, 8, 0, 8, -6, 0), 10),
        ("EPSG:2263", Affine(10, 0, 0, 0, -10, 0), 3.048),  # US survey feet
        ("EPSG:4326", Affine(1e-4, 0, 20, 0, -1e-4, 2e-4), 11.12),
        ("EPSG:4326", Affine(1e-4, 0, 20, 0, -1e-4, 60.0002), 11.12 * 0.5**0.5),
        (None, Affine.identity(), None),
    ],
)
def test_gsd_is_in_metres(crs, transform, metres):
    gsd = make_image(crs=crs, transform=transform).gsd
    assert gsd == (None if metres is None else pytest.approx(metres, rel=1e-3))


def test_select_follows_what_bands_measure_and_keeps_validity_per_band():
    image = make_image()
    image.valid[0, 1, 2] = False
    picked = image.select(S2.select("B08", "B02"))
    assert [band.name for band in picked.bands] == ["B08", "B02"]
    np.testing.assert_array_equal(picked.pixels[0], image.pixels[2])
    assert not picked.valid[1, 1, 2]
    assert picked.pixels[1, 1, 2] == 0
    assert picked.valid[0].all()
    assert not image.valid_HW[1, 2]


def test_select_names_the_band_that_is_missing():
    with pytest.raises(MissingBandsError, match="B12"):
        make_image().select(S2.select("B12"))
