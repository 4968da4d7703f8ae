"""Small scenes and specialists that the mapping tests share."""

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from rasterio.crs import CRS
from rasterio.transform import from_origin
from scipy.ndimage import gaussian_filter

from mapping import cli
from rasters import RasterImage, write_raster
from registry import Registry
from router import TrunkSpec, build_trunk
from router.ensemble import Ensemble
from router.ensemble_spec import suit_members
from router.manifest import Pin
from router.member import load_member
from router.task_ensemble import TaskEnsemble
from sensors import Band, SarChannel
from specialists.model import build_specialist
from specialists.spec import SpecialistSpec
from specialists.task_spec import TaskSpec

BANDS = (
    Band("blue", 0.49, 0.06),
    Band("green", 0.56, 0.04),
    Band("red", 0.665, 0.03),
    Band("nir", 0.842, 0.1),
)
RADAR = (SarChannel("VV", "VV", 5.405), SarChannel("VH", "VH", 5.405))
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


@pytest.fixture
def radar_bands():
    return RADAR


@pytest.fixture
def make_stack(make_image):
    """An optical and a radar image of the same ground in one stack of six bands."""

    def make(height=64, width=96, *, optical_valid=None, radar_valid=None, seed=0):
        optical = make_image(height, width, valid=optical_valid, seed=seed)
        shape = (len(RADAR), height, width)
        radar = np.random.default_rng(seed + 1).normal(-13, 4, shape).astype(np.float32)
        valid = np.ones(shape, bool) if radar_valid is None else np.broadcast_to(radar_valid, shape)
        return replace(
            optical,
            pixels=np.concatenate([optical.pixels, np.where(valid, radar, np.float32(0))]),
            valid=np.concatenate([optical.valid, valid]),
            bands=(*BANDS, *RADAR),
        )

    return make


@pytest.fixture
def guild(tmp_path, make_specialist):
    """A registry with an optical and a radar specialist."""
    registry = Registry.open(tmp_path / "registry")
    registry.add(make_specialist(), name="optical", version="1.0.0")
    radar = make_specialist(bands=RADAR, mean=(-13.0, -13.0), std=(4.0, 4.0))
    registry.add(radar, name="radar", version="1.0.0")
    return registry


@pytest.fixture
def make_ensemble(guild):
    """A frozen ensemble of the two with a random head; by default it asks the optical one first."""

    def make(*, with_trunk=False, gate="sensor", top_k=1, **changes):
        torch.manual_seed(1)
        trunk = None
        if with_trunk:
            small = {"width": 32, "depth": 4, "num_heads": 2, "patch_size": 8, "image_size": 32}
            trunk = build_trunk(TrunkSpec(generator_hidden_size=64, **small))
            trunk = (trunk, Pin("small-trunk", "1.0.0", "ab" * 32))
        members = [load_member(name, guild) for name in ("optical", "radar")]
        infos = [member.network.feature_info for member in members]
        spec = suit_members(infos, gate=gate, top_k=top_k, fusion="concat", trunk_image_size=32)
        task = TaskSpec(
            task="semantic-segmentation",
            bands=(*BANDS, *RADAR),
            classes=CLASSES,
            mean=(0.3,) * len(BANDS) + (-13.0,) * len(RADAR),
            std=(0.1,) * len(BANDS) + (4.0,) * len(RADAR),
            gsd=10.0,
            chip_size=32,
            decoder="linear",
        )
        return TaskEnsemble(Ensemble(spec, members, trunk), replace(task, **changes)).freeze()

    return make


@pytest.fixture
def run_command(monkeypatch, capsys):
    """Run predict-map in this process: exit code, standard output, standard error."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["predict-map", *map(str, arguments)])
        code = 0
        try:
            cli.main()
        except SystemExit as end:
            code = end.code
        return code, *capsys.readouterr()

    return run
