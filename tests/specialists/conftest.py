"""Specs and networks that several tests of this package use."""

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch

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
