"""Two small data sets of different sensors, and the file of a tiny trunk."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
import yaml

from router import TrunkSpec, build_trunk, save_trunk
from router.pretraining.config import compose_trunk_config
from router.pretraining.sources import load_sources

TINY = {"width": 32, "depth": 2, "num_heads": 2, "patch_size": 8, "image_size": 32}
# Values at a low and a high place, per band: bands of one image tell of each other.
OPTICAL = {"B02": (300, 900), "B03": (500, 800), "B04": (900, 300), "B08": (1500, 4000)}
RADAR = {"VV": (-14.0, -6.0), "VH": (-22.0, -12.0)}


@pytest.fixture(scope="session")
def sources_dir(tmp_path_factory) -> Path:
    """A folder for `--config-dir` with the data sets `optical` (24 x 24) and `radar` (40 x 32).

    Their chips, 30 each, are hills of random slope, so that a part tells of the rest.
    """
    folder = tmp_path_factory.mktemp("sources")
    random = np.random.default_rng(0)
    for number in range(30):
        _write_hill(folder / "optical" / f"{number}.tif", OPTICAL, (24, 24), random, "uint16")
        _write_hill(folder / "radar" / f"{number}.tif", RADAR, (40, 32), random, "float32")
    (folder / "data").mkdir()
    for name, entries in {
        "optical": {"sensor": "sentinel-2-l2a", "scale": 1e-4, "bands": list(OPTICAL)},
        "radar": {"sensor": "sentinel-1-grd", "bands": list(RADAR)},
    }.items():
        content = {
            "name": name,
            "title": f"Hills of {name}",
            "licence": "CC0-1.0",
            "source": "the tests",
            "kind": "images",
            "task": "similarity-search",
            "gsd": 10,
            "train": {"images": str(folder / name)},
            "split": {"by": "hash", "fractions": {"selection": 0.3, "test": 0.1}},
        }
        (folder / "data" / f"{name}.yaml").write_text(yaml.safe_dump(content | entries))
    return folder


@pytest.fixture(scope="session")
def tiny_trunk(tmp_path_factory) -> Path:
    """The file of a tiny trunk with random weights, which knows no statistics."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("trunk") / "tiny.safetensors"
    save_trunk(build_trunk(TrunkSpec(generator_hidden_size=32, **TINY)), path)
    return path


@pytest.fixture(scope="session")
def overrides(tiny_trunk) -> Callable[..., list[str]]:
    """Overrides of a short pretraining from `tiny_trunk`; keywords change or add some.

    A double underscore stands for a dot.
    """

    def make(**changes) -> list[str]:
        settings = {
            "sources": "[optical,radar]",
            "trunk": tiny_trunk,
            "image_size": 32,
            "steps": 4,
            "trainer__epochs": 1,
            "trainer__batch_size": 8,
            "trainer__accelerator": "cpu",
            "trainer__energy": "false",
            "trainer__target": "band",
            "trainer__decoder__width": 32,
            "trainer__decoder__depth": 1,
            "trainer__decoder__num_heads": 2,
        }
        return [f"{key.replace('__', '.')}={value}" for key, value in (settings | changes).items()]

    return make


@pytest.fixture(scope="session")
def sources(overrides, sources_dir):
    """The sources `optical` and `radar`, of unlike numbers of chips and weights."""
    split = "{fractions: {selection: 0.3, test: 0.4}}"
    entries = f"[optical,{{base: radar, weight: 3, split: {split}}}]"
    config = compose_trunk_config(overrides(sources=entries, run_dir="x"), sources_dir)
    return load_sources(config.sources, selection_chips=5)


def _write_hill(path, bands, size, random, dtype) -> None:
    path.parent.mkdir(exist_ok=True)
    place = np.meshgrid(*(np.linspace(-1, 1, edge) for edge in size), indexing="ij")
    angle = random.uniform(0, 2 * np.pi)
    height_HW = 0.5 + 0.35 * (np.sin(angle) * place[0] + np.cos(angle) * place[1])
    profile = {"driver": "GTiff", "count": len(bands), "height": size[0], "width": size[1]}
    with rasterio.open(path, "w", dtype=dtype, **profile) as file:
        for layer, (low, high) in enumerate(bands.values(), 1):
            noise_HW = random.normal(0, 0.02, size)
            values_HW = low + (high - low) * (height_HW + noise_HW)
            file.write(values_HW.astype(dtype), layer)
        file.descriptions = list(bands)
