"""Start from published RGB weights or another specialist, the first filters moved by wavelength.

ConvNeXt V2's published weights (tags `fcmae*`) are licensed CC BY-NC 4.0: what is trained from them
inherits the restriction to non-commercial use, and its card has to say so. timm's code is not
restricted, nor is a specialist that starts from random weights.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from safetensors import SafetensorError, safe_open
from timm.models import load_state_dict
from timm.models.convnext import checkpoint_filter_fn
from torch import Tensor

from sensors.bands import Band, Channel
from sensors.errors import InputError
from sensors.plan import BandPlan
from specialists.files import load_specialist
from specialists.header import METADATA_KEY
from specialists.model import Specialist

# Below the first wavelength a band is blue, between the second and third green, above the last red;
# in between it is a linear mix. The blue, green and red bands of every usual sensor lie within
# these ranges, so their filters are taken over as they are.
_BLUE_GREEN_RED_KNOTS_UM = (0.525, 0.535, 0.590, 0.625)
_BLUE_GREEN_RED = ((1.0, 0.0, 0.0, 0.0), (0.0, 1.0, 1.0, 0.0), (0.0, 0.0, 0.0, 1.0))
_RED_END_UM = 0.70
_RED_DECAY_UM = 0.30
_NEAR_END_UM = 1.10


def load_backbone(specialist: Specialist, weight_file: Path | str) -> None:
    """Fill a specialist's backbone with published RGB weights, or another specialist's.

    A specialist's own weight file gives its backbone; its bands must serve all of this one's, or
    hold red, green and blue. Between two specialists with wavelength-conditioned stems, whatever
    bands they know, the stem is taken over unchanged. Any other file is read by timm (its
    `pretrained_cfg_overlay={"file": ...}`) into the 3-channel network; everything but the first
    convolution is taken over unchanged, the first convolution by `transfer_stem`. ImageNet's
    networks saw each channel with mean 0 and standard deviation 1 over their training data, and a
    specialist sees its bands scaled in the same way, so that the filters meet values of the
    magnitude they were trained on.

    Args:
        specialist: Changed in place; its head is left as it is.
        weight_file: A `.safetensors` or `.pth` file in timm's or the authors' own naming, or a
            specialist's. Pickled objects other than tensors are refused.

    Raises:
        InputError: If the file cannot be read or is of another architecture or kind of stem; names
            what differs.
    """
    path = Path(weight_file)
    if _is_specialist(path):
        _load_from_specialist(specialist, load_specialist(path), path)
    else:
        _load_from_published(specialist, path)


def _is_specialist(path: Path) -> bool:
    if path.suffix != ".safetensors" or not path.is_file():
        return False
    try:
        with safe_open(path, "pt") as file:
            return METADATA_KEY in (file.metadata() or {})
    except SafetensorError as error:
        raise InputError(f"{path} cannot be read as safetensors: {error}") from error


def _load_from_specialist(specialist: Specialist, source: Specialist, path: Path) -> None:
    wanted, given = specialist.spec.architecture, source.spec.architecture
    if wanted != given:
        raise InputError(f"{path} does not hold a {wanted}: it is a {given}")
    if source.spec.stage_widths or source.spec.hidden_widths:
        raise InputError(
            f"{path} is a slimmed {given}, and does not fit one that is as wide as published; "
            "start from the one that it was made of"
        )
    if specialist.spec.stem != source.spec.stem:
        raise InputError(
            f"{path} has a stem that is {source.spec.stem}, and this specialist's is "
            f"{specialist.spec.stem}; set specialist.stem={source.spec.stem}, or start from another"
        )
    weights = dict(source.backbone.state_dict())
    if specialist.spec.takes_any_known:
        specialist.stem.load_state_dict(source.stem.state_dict())
        specialist.backbone.load_state_dict(weights)
        return
    filters_OSKK = weights["stem_0.weight"]
    plan = BandPlan.match(specialist.bands, source.bands)
    if plan.is_applicable:
        # A filter for each wanted band, as if the band's own pixels came from the given ones.
        weights["stem_0.weight"] = plan.apply(filters_OSKK)
    else:
        names = [getattr(band, "common_name", None) for band in source.bands]
        if not {"red", "green", "blue"} <= set(names):
            raise InputError(
                f"{path}: its bands ({', '.join(band.name for band in source.bands)}) neither "
                "serve all bands of this specialist nor are red, green and blue among them"
            )
        rgb = [names.index(color) for color in ("red", "green", "blue")]
        weights["stem_0.weight"] = transfer_stem(filters_OSKK[:, rgb], specialist.bands)
    specialist.backbone.load_state_dict(weights)


def _load_from_published(specialist: Specialist, path: Path) -> None:
    architecture = specialist.spec.architecture
    if specialist.spec.takes_any_known:
        raise InputError(
            f"{path} has filters for red, green and blue, and a stem that is wavelength generates "
            "its own; start from a specialist with such a stem, or set specialist.stem=fixed"
        )
    _check_names(path, architecture)
    try:
        rgb: Any = timm.create_model(
            architecture,
            pretrained=True,
            features_only=True,
            pretrained_cfg_overlay={"file": str(path)},
        )
    except RuntimeError as error:  # load_state_dict lists every tensor of another shape
        raise InputError(f"{path} does not hold a {architecture}: {error}") from error
    weights: dict[str, Tensor] = rgb.state_dict()
    bad = [name for name, tensor in weights.items() if not tensor.isfinite().all()]
    if bad:
        raise InputError(f"{path} has weights that are not finite: {', '.join(bad)}")
    weights["stem_0.weight"] = transfer_stem(weights["stem_0.weight"], specialist.bands)
    specialist.backbone.load_state_dict(weights)


def transfer_stem(rgb_O3KK: Tensor, bands: Sequence[Channel]) -> Tensor:
    """First convolution for any bands from one for red, green and blue.

    Each of the three filters is shared out among the bands in proportion to how near a band is to
    it, and the shares of a filter sum to 1. So an image that has the same (normalised) value in all
    bands gives exactly the response that a grey RGB image gives, whatever the number of bands; and
    red, green and blue bands, in any order, get exactly their own filters.

    Nearness is by wavelength: blue, green, red or a linear mix within the visible; beyond 0.7 um
    red, falling off by 1/e every 0.3 um up to 1.1 um; a band that no filter is near (short-wave and
    thermal infrared, radar) takes all three equally, and so do all bands if a filter has none near.

    Args:
        rgb_O3KK: Filters (O, 3, K, K) for red, green, blue.
        bands: What each input channel of the result measures.

    Returns:
        Filters (O, len(bands), K, K).
    """
    nearness_C3 = torch.tensor([_nearness(band) for band in bands], dtype=rgb_O3KK.dtype)
    total_3 = nearness_C3.sum(0)
    share_C3 = torch.where(total_3 > 0, nearness_C3 / total_3, 1 / len(bands))
    return torch.einsum("oikl,ci->ockl", rgb_O3KK, share_C3)


def _nearness(band: Channel) -> tuple[float, float, float]:
    """How near a band is to red, green and blue, 0..1 each."""
    if not isinstance(band, Band) or band.center_wavelength > _NEAR_END_UM:
        return (1 / 3, 1 / 3, 1 / 3)
    wavelength = band.center_wavelength
    blue, green, red = (
        float(np.interp(wavelength, _BLUE_GREEN_RED_KNOTS_UM, heights))
        for heights in _BLUE_GREEN_RED
    )
    beyond_red = max(0.0, wavelength - _RED_END_UM)
    return (red * float(np.exp(-beyond_red / _RED_DECAY_UM)), green, blue)


def _check_names(path: Path, architecture: str) -> None:
    """Compare the file's tensors with the architecture's by name; timm would let gaps pass."""
    if not path.is_file():
        raise InputError(f"{path} is not a file; give a local .safetensors or .pth weight file")
    with torch.device("meta"):
        network: Any = timm.create_model(architecture, num_classes=0)
    try:
        found = set(checkpoint_filter_fn(load_state_dict(str(path)), network))  # type: ignore[no-untyped-call]
    except Exception as error:  # whatever a broken or foreign file makes its readers raise
        raise InputError(
            f"{path} cannot be read as weights of {architecture}: {type(error).__name__}: {error}"
        ) from error
    expected = {name for name in network.state_dict() if not name.startswith("head.")}
    found = {name for name in found if not name.startswith("head.")}
    if found != expected:
        raise InputError(
            f"{path} does not hold a {architecture}: "
            f"missing {_some(expected - found)}; unexpected {_some(found - expected)}"
        )


def _some(names: set[str]) -> str:
    return f"{len(names)} ({', '.join(sorted(names)[:3])}...)" if names else "none"
