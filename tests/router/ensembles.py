"""Small members and ensembles in memory, for the tests of the router."""

import functools

import torch

from registry.prototype import Prototype
from router import Trunk
from router.ensemble import Ensemble
from router.ensemble_spec import suit_members
from router.manifest import Pin
from router.member import Member, without_head
from sensors import Band, SarChannel
from specialists import SpecialistSpec, build_specialist

RED = Band("red", 0.665, 0.03, gsd=10)
NIR = Band("nir", 0.842, 0.1, gsd=10)
SWIR = Band("swir", 2.2, 0.1, gsd=20)
VV = SarChannel("VV", "VV", 5.405, gsd=10)
VH = SarChannel("VH", "VH", 5.405, gsd=10)
ALL = (RED, NIR, SWIR, VV, VH)
CENTERS = torch.tensor([0.1, 0.3, 0.2, -10.0, -17.0])[:, None, None]
SPREADS = torch.tensor([0.05, 0.1, 0.1, 4.0, 4.0])[:, None, None]
TRUNK_PIN = Pin("small-trunk", "1.0.0", "ab" * 32)


@functools.cache
def make_member(
    name: str, bands: tuple, *, width: int = 0, stem_stride: int = 4, stem: str = "fixed"
) -> Member:
    """A specialist with random weights that follow from its name, and its prototype.

    It is frozen, so ensembles may share it.
    """
    seed = sum(name.encode())
    torch.manual_seed(seed)
    spec = SpecialistSpec(
        task="scene-classification",
        bands=bands,
        classes=("a", "b"),
        mean=tuple(0.2 if isinstance(band, Band) else -13.0 for band in bands),
        std=tuple(0.1 if isinstance(band, Band) else 5.0 for band in bands),
        gsd=10.0,
        chip_size=32,
        stem=stem,
        stem_stride=stem_stride,
    )
    prototype = None
    if width:
        generator = torch.Generator().manual_seed(seed)
        mean = torch.randn(width, generator=generator)
        prototype = Prototype(TRUNK_PIN.sha256, tuple(mean.tolist()), (1.0,) * width, 8)
    pin = Pin(name, "1.0.0", f"{seed:064x}")
    return Member(pin, without_head(build_specialist(spec)), prototype)


def make_members(width: int = 0) -> list[Member]:
    """Three optical members and a radar one."""
    return [
        make_member("visible", (RED, NIR), width=width),
        make_member("infrared", (NIR, SWIR), width=width),
        make_member("all-optical", (RED, NIR, SWIR), width=width),
        make_member("radar", (VV, VH), width=width),
    ]


def make_ensemble(trunk: Trunk | None, members: list[Member] | None = None, **settings) -> Ensemble:
    """An ensemble that has learned nothing, in evaluation mode."""
    width = 0 if trunk is None else trunk.num_features
    members = make_members(width) if members is None else members
    settings = {"gate": "routed", "top_k": 2, "fusion": "concat", "trunk_image_size": 32} | settings
    spec = suit_members([member.network.feature_info for member in members], **settings)
    return Ensemble(spec, members, None if trunk is None else (trunk, TRUNK_PIN)).eval()


def make_images(batch: int = 4, height: int = 32, width: int = 32, seed: int = 0) -> torch.Tensor:
    """Physical pixels (B, 5, H, W) of `ALL`, each image another mean."""
    generator = torch.Generator().manual_seed(seed)
    level = torch.randn(batch, 5, 1, 1, generator=generator)
    noise = torch.randn(batch, 5, height, width, generator=generator)
    return CENTERS + (noise * 0.5 + level) * SPREADS
