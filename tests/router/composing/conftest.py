"""A registry of small specialists and a trunk, and chips of two sensors, one often clouded."""

from pathlib import Path

import numpy as np
import pytest
import torch
from affine import Affine

from rasters import ChipDataset, RasterImage, write_raster
from registry import Registry
from router import TrunkSpec, build_trunk
from router.composing import ComposeConfig, ComposeTrainerConfig, EnsembleConfig
from router.prototypes import compute_prototype
from router.registering import register_trunk
from sensors import Band, SarChannel, load_sensor
from specialists import SpecialistSpec, build_specialist
from specialists.data import ChipsConfig, DataConfig
from specialists.splitting import SplitConfig

RED = Band("red", 0.665, 0.03, gsd=10)
NIR = Band("nir", 0.842, 0.1, gsd=10)
VV = SarChannel("VV", "VV", 5.405, gsd=10)
VH = SarChannel("VH", "VH", 5.405, gsd=10)
THERMAL = Band("thermal", 10.9, 0.6, gsd=10, quantity="temperature")
BANDS = (RED, NIR, VV, VH)
LEVELS = {
    "field": (0.05, 0.40, -12.0, -18.0),
    "lake": (0.04, 0.03, -22.0, -28.0),
    "roof": (0.25, 0.28, -4.0, -12.0),
}
MEMBERS = {
    "visible": (RED,),
    "optical": (RED, NIR),
    "radar": (VV, VH),
    "thermal": (THERMAL,),
}


@pytest.fixture(scope="session")
def two_sensors(tmp_path_factory) -> Path:
    """`<class>/*.tif`: 3 classes of 12 chips, 16 x 16, of `BANDS`; a third has no optical."""
    folder = tmp_path_factory.mktemp("two-sensors")
    draw = np.random.default_rng(0)
    noise = np.array([0.03, 0.05, 2.0, 2.0])[:, None, None]
    for name, levels in LEVELS.items():
        (folder / name).mkdir()
        for number in range(12):
            pixels_CHW = np.array(levels)[:, None, None] + draw.normal(0, 1, (4, 16, 16)) * noise
            valid_CHW = np.ones(pixels_CHW.shape, dtype=bool)
            valid_CHW[:2] = number % 3 != 0
            image = RasterImage(
                np.where(valid_CHW, pixels_CHW, 0).astype(np.float32),
                valid_CHW,
                BANDS,
                Affine(10, 0, 500_000, 0, -10, 5_000_000),
                None,
            )
            write_raster(folder / name / f"{name}_{number}.tif", image)
    return folder


@pytest.fixture(scope="session")
def registry(tmp_path_factory, two_sensors) -> Registry:
    """The `MEMBERS` with random weights, their prototypes, and `small-trunk`."""
    registry = Registry.open(tmp_path_factory.mktemp("registry"))
    torch.manual_seed(1)
    spec = TrunkSpec(
        width=32, depth=2, num_heads=2, patch_size=8, image_size=32, generator_hidden_size=32
    )
    trunk = build_trunk(spec).eval()
    pin = register_trunk(registry, trunk, name="small-trunk", version="1.0.0")
    for name, bands in MEMBERS.items():
        specialist = build_specialist(
            SpecialistSpec(
                task="scene-classification",
                bands=bands,
                classes=("a", "b"),
                mean=tuple(
                    {"reflectance": 0.2, "temperature": 290.0}.get(b.quantity, -14.0) for b in bands
                ),
                std=tuple(
                    {"reflectance": 0.15, "temperature": 10.0}.get(b.quantity, 7.0) for b in bands
                ),
                gsd=10.0,
                chip_size=16,
            )
        )
        prototypes = ()
        if name != "thermal":
            names = [band.name for band in bands]
            chips = ChipDataset.from_folders(two_sensors, bands=names)
            prototypes = (compute_prototype(trunk, pin.sha256, chips, image_size=16),)
        registry.add(specialist, name=name, version="1.0.0", prototypes=prototypes)
    return registry


@pytest.fixture
def make_config(two_sensors, registry, tmp_path):
    """A short run on the chips of two sensors; what is named replaces what it is else.

    `data` replaces entries of the data, `ensemble` those of the ensemble, others of the recipe.
    """

    def make(members=("optical", "radar"), trunk="small-trunk", data=None, ensemble=None, **recipe):
        run = {key: recipe.pop(key) for key in ("start", "head", "run_dir") if key in recipe}
        settings = {
            "name": "two-sensors",
            "title": "Two sensors",
            "licence": "CC0-1.0",
            "source": "made by a test",
            "kind": "folders",
            "train": ChipsConfig(folder=str(two_sensors)),
            "split": SplitConfig(fractions={"selection": 0.25, "test": 0.25}, seed=1),
        }
        recipe = {"epochs": 2, "batch_size": 6, "lr": 1e-2} | recipe
        return ComposeConfig(
            name="toy",
            data=DataConfig(**settings | (data or {})),
            members=list(members),
            trunk=trunk,
            registry=str(registry.store.root),
            ensemble=EnsembleConfig(**{"top_k": 1, "trunk_image_size": 16} | (ensemble or {})),
            trainer=ComposeTrainerConfig(accelerator="cpu", energy=False, **recipe),
            **{"run_dir": str(tmp_path / "run")} | run,
        )

    return make


@pytest.fixture(scope="session")
def colors(registry) -> tuple[str, ...]:
    """Members for pictures in red, green and blue."""
    red, green, blue = load_sensor("rgb-aerial").channels
    for name, bands in (("warm", (red, green)), ("cool", (green, blue))):
        specialist = build_specialist(
            SpecialistSpec(
                task="scene-classification",
                bands=bands,
                classes=("a", "b"),
                mean=(0.4, 0.4),
                std=(0.3, 0.3),
                gsd=10.0,
                chip_size=16,
            )
        )
        registry.add(specialist, name=name, version="1.0.0")
    return ("warm", "cool")
