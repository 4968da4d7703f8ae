"""Small scenes and specialists that the mapping tests share."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from rasterio.crs import CRS
from rasterio.transform import from_origin
from scipy.ndimage import gaussian_filter

from rasters import RasterImage, write_raster
from sensors import Band
from specialists.model import build_specialist
from specialists.spec import SpecialistSpec

BANDS = (
    Band("blue", 0.49, 0.06),
    Band("green", 0.56, 0.04),
    Band("red", 0.665, 0.03),
    Band("nir", 0.842, 0.1),
)
CLASSES = ("water", "forest", "built-up")


class PixelClassifier:
    """A linear classifier of every pixel's own spectrum: its map cannot depend on the windows."""

    def __init__(self):
        shape = (len(CLASSES), len(BANDS))
        self.weights_KC = np.random.default_rng(7).normal(0, 6, shape).astype(np.float32)
        self.windows = 0

    def __call__(self, x_BCHW, valid_BCHW):
        self.windows += len(x_BCHW)
        logits = np.einsum("kc,bchw->bkhw", self.weights_KC, x_BCHW)
        odds = np.exp(logits - logits.max(1, keepdims=True))
        return odds / odds.sum(1, keepdims=True)


@pytest.fixture
def bands():
    return BANDS


@pytest.fixture
def classes():
    return CLASSES


@pytest.fixture
def pixel_classifier():
    return PixelClassifier()


@pytest.fixture
def make_image():
    """A smooth random image in UTM 33 N at 10 m, all valid unless told."""

    def make(height=60, width=70, *, bands=BANDS, seed=0, valid=None, gsd=10.0, crs="EPSG:32633"):
        noise = np.random.default_rng(seed).random((len(bands), height, width))
        smooth = np.stack([gaussian_filter(layer, 2, mode="nearest") for layer in noise])
        pixels = np.clip(0.3 + 2 * (smooth - 0.5) + 0.05 * (noise - 0.5), 0, 1).astype(np.float32)
        mask = (
            np.ones(pixels.shape, bool) if valid is None else np.broadcast_to(valid, pixels.shape)
        )
        return RasterImage(
            pixels=np.where(mask, pixels, 0).astype(np.float32),
            valid=mask.copy(),
            bands=tuple(bands),
            transform=from_origin(399960.0, 5900040.0, gsd, gsd),
            crs=CRS.from_string(crs) if crs else None,
        )

    return make


@pytest.fixture
def scene(tmp_path, make_image):
    """Path of such an image, 60 x 70 pixels."""
    path = tmp_path / "scene.tif"
    write_raster(path, make_image())
    return path


@pytest.fixture
def make_specialist():
    """A frozen specialist with seeded random weights, GRN's too (timm starts them at zero)."""

    def make(**changes):
        spec = SpecialistSpec(
            task="semantic-segmentation",
            bands=BANDS,
            classes=CLASSES,
            mean=(0.3,) * len(BANDS),
            std=(0.1,) * len(BANDS),
            gsd=10.0,
            chip_size=32,
        )
        torch.manual_seed(0)
        specialist = build_specialist(replace(spec, **changes))
        for name, weight in specialist.named_parameters():
            if ".grn." in name:
                torch.nn.init.normal_(weight, std=0.5)
        return specialist.freeze()

    return make
