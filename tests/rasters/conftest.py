"""Small files that the tests of `rasters` read, written by the tests themselves."""

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.errors import NotGeoreferencedWarning

UTM = "EPSG:32633"
CORNER = Affine(10, 0, 300_000, 0, -10, 5_800_000)

Write = Callable[..., Path]


@pytest.fixture
def write_file(tmp_path: Path) -> Write:
    """Write an array `(C, H, W)` or `(H, W)` as it is to a file below the test's folder."""

    def write(name, array, *, descriptions=(), tags=None, scales=None, offsets=None, **profile):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        array = np.asarray(array)
        layers = array[None] if array.ndim == 2 else array
        driver = {".png": "PNG", ".jpg": "JPEG", ".jp2": "JP2OpenJPEG"}.get(path.suffix, "GTiff")
        if driver in ("GTiff", "JP2OpenJPEG"):
            profile = {"crs": UTM, "transform": CORNER} | profile
        if driver == "JP2OpenJPEG":
            profile = {"QUALITY": 100, "REVERSIBLE": "YES"} | profile
        count, height, width = layers.shape
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(
                path,
                "w",
                driver=driver,
                count=count,
                height=height,
                width=width,
                dtype=layers.dtype,
                **profile,
            ) as file:
                file.write(layers)
                for number, text in enumerate(descriptions, start=1):
                    file.set_band_description(number, text)
                if tags:
                    file.update_tags(**tags)
                if scales:
                    file.scales, file.offsets = scales, offsets
        return path

    return write


@pytest.fixture
def digital_numbers() -> Callable[..., np.ndarray]:
    """Reflectance x 10000 as Sentinel-2 stores it, seeded by its shape."""

    def make(*shape: int) -> np.ndarray:
        return np.random.default_rng(shape).integers(200, 5000, shape).astype(np.uint16)

    return make


def truncate(path: Path, fraction: float) -> Path:
    """Keep the beginning of a file only."""
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * fraction)])
    return path


@pytest.fixture(name="truncate")
def truncate_fixture() -> Callable[[Path, float], Path]:
    return truncate
