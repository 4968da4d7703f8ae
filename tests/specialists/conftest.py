"""Specs and networks that several tests of this package use."""

import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch
from rasterio.errors import NotGeoreferencedWarning

from sensors import Band, SarChannel
from specialists import Specialist, SpecialistSpec, build_specialist

BANDS = (
    Band("blue", 0.49, 0.065),
    Band("red", 0.665, 0.03),
    Band("nir", 0.842, 0.11),
    SarChannel("VV", "VV", 5.405),
)


@pytest.fixture(scope="session")
def make_spec() -> Callable[..., SpecialistSpec]:
    """A small, valid spec; keywords replace its fields."""

    def make(**changes: Any) -> SpecialistSpec:
        bands = changes.pop("bands", BANDS)
        record = {
            "task": "scene-classification",
            "bands": bands,
            "classes": ("forest", "water", "town"),
            "mean": (0.2,) * len(bands),
            "std": (0.1,) * len(bands),
            "gsd": 10.0,
            "chip_size": 32,
        }
        return SpecialistSpec(**record | changes)

    return make


@pytest.fixture(scope="session")
def get_specialist(make_spec: Callable[..., SpecialistSpec]) -> Callable[..., Specialist]:
    """The specialist of `make_spec(...)`, seeded, frozen and shared between tests."""

    @cache
    def get(**changes: Any) -> Specialist:
        torch.manual_seed(0)
        specialist = build_specialist(make_spec(**changes))
        # Published initial weights leave response norms and biases at 0, which would hide them.
        for weight in specialist.parameters():
            if weight.ndim == 1:
                torch.nn.init.normal_(weight.data, weight.data.mean().item(), 0.1)
        return specialist.freeze()

    return get


@pytest.fixture(scope="session")
def toy_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small labelled data sets of every task; what is asked for can be told from the colours.

    - `scenes/<class>/*.png`: 3 classes of 12 chips, 16 x 16;
    - `images/*.png` and `masks/*.tif`: 6 chips of 32 x 32, 1 where it is bright, 255 on the left
      edge; `heights/*.tif`: 100 to 300 by brightness, NaN on the left edge;
    - `labels.csv`: the scenes again, with several labels (`labels`) and two values (`warmth`,
      `depth`) each.
    """
    folder = tmp_path_factory.mktemp("toy")
    draw = np.random.default_rng(0)
    rows = ["file,labels,warmth,depth,place"]
    colors = {"field": (60, 180, 60), "lake": (20, 40, 120), "roof": (200, 80, 70)}
    for name, color in colors.items():
        for number in range(12):
            pixels_CHW = np.array(color)[:, None, None] + draw.normal(0, 12, (3, 16, 16))
            _write_picture(folder / "scenes" / name / f"{name}_{number}.png", pixels_CHW)
            labels = {"field": "green", "lake": "cool;wet", "roof": "dry;warm"}[name]
            red, _, blue = pixels_CHW.mean((1, 2))
            rows.append(
                f"scenes/{name}/{name}_{number}.png,{labels},{280 + red / 10},{blue},p{number % 4}"
            )
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    for number in range(6):
        ramp_HW = np.linspace(0, 250, 32)[None] + draw.normal(0, 3, (32, 32))
        ramp_HW = np.rot90(ramp_HW, number).clip(0, 255)
        _write_picture(folder / "images" / f"{number}.png", np.repeat(ramp_HW[None], 3, 0))
        mask_HW = (ramp_HW > 125).astype(np.uint8)
        height_HW = (100 + ramp_HW * 0.8).astype(np.float32)
        mask_HW[:, 0], height_HW[:, 0] = 255, np.nan
        for kind, values_HW in (("masks", mask_HW), ("heights", height_HW)):
            _write(folder / kind / f"{number}.tif", values_HW[None], driver="GTiff")
    return folder


def _write_picture(path: Path, pixels_CHW: np.ndarray) -> None:
    _write(path, pixels_CHW.clip(0, 255).astype(np.uint8), driver="PNG")


def _write(path: Path, values_CHW: np.ndarray, driver: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    count, height, width = values_CHW.shape
    size = {"count": count, "height": height, "width": width, "dtype": values_CHW.dtype}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path, "w", driver=driver, **size) as dataset:
            dataset.write(values_CHW)
