"""Fixtures for trunks."""

from collections.abc import Callable

import pytest
import torch

from router import Trunk, TrunkSpec, build_trunk
from sensors import Band, SarChannel

BANDS = (
    Band("red", 0.665, 0.03),
    Band("nir", 0.842, 0.1),
    Band("swir", 2.2, 0.1),
    Band("thermal", 10.9, 0.6, quantity="temperature"),
    SarChannel("VV", "VV", 5.405),
    SarChannel("VH", "VH", 5.405),
)
CENTERS = torch.tensor([0.1, 0.3, 0.2, 290.0, -10.0, -17.0])[:, None, None]
SPREADS = torch.tensor([0.05, 0.1, 0.1, 10.0, 4.0, 4.0])[:, None, None]


@pytest.fixture(scope="session")
def all_bands():
    return BANDS


@pytest.fixture(scope="session")
def make_trunk() -> Callable[..., Trunk]:
    """A small trunk in evaluation mode; same arguments, same weights."""

    def make(**changes) -> Trunk:
        torch.manual_seed(0)
        small = {"width": 32, "depth": 4, "num_heads": 2, "patch_size": 8, "image_size": 32}
        spec = TrunkSpec(**({"generator_hidden_size": 64} | small | changes))
        return build_trunk(spec).eval()

    return make


@pytest.fixture(scope="session")
def make_image() -> Callable[..., torch.Tensor]:
    """Physical pixels (B, 6, H, W) of `all_bands`."""

    def make(height=32, width=32, batch=2) -> torch.Tensor:
        generator = torch.Generator().manual_seed(height * 1000 + width)
        noise = torch.randn(batch, len(BANDS), height, width, generator=generator)
        return CENTERS + noise * SPREADS

    return make
