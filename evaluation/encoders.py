"""Everything that can be evaluated, as one kind of object: from a line of text to a frozen network.

Tensor shapes: B batch, C channels, H rows, W columns, D features.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from evaluation._adapters import PyramidEncoder
from evaluation._ensemble_encoders import EnsembleEncoder
from evaluation._floor_encoders import Constant, ImageStatistics, RandomConvolution
from evaluation._timm_networks import build_timm
from evaluation._torchgeo_networks import build_torchgeo
from evaluation._trunk_encoders import TrunkEncoder
from evaluation.context import DataContext
from evaluation.sources import (
    FLOORS,
    EncoderConfig,
    default_name,
    is_random,
    kind_of,
    parse_encoder,
    resolve_source,
)
from registry import Registry
from router import TRUNKS, build_trunk, find_trunk, find_trunk_spec
from router.ensemble import Ensemble
from router.ensemble_files import load_ensemble
from sensors import Channel, InputError, channel_to_dict
from specialists import Specialist, load_specialist
from specialists.backbone import build_backbone
from specialists.run import RunFolder
from specialists.spec import ARCHITECTURES

__all__ = [
    "DataContext",
    "Encoder",
    "EncoderConfig",
    "LoadedEncoder",
    "is_random",
    "load_encoder",
    "parse_encoder",
    "wrap_encoder",
    "wrap_ensemble",
]


class Encoder(Protocol):
    """A feature network.

    It may also have:

    - `bands`: the channels it needs; without, it takes any;
    - `embed(x_BCHW, bands, valid) -> (B, D)`: its own vector of an image, used instead of pooled
      levels;
    - `input_size(height, width) -> (height, width)`: what it resizes an image to, if it does;
    - `gate_weights(x_BCHW, bands, valid) -> {member: (B,)}`: for ensembles, the weight of every
      member for each image;
    - `features_and_gate(x_BCHW, bands, valid)`: what `forward_features` and `gate_weights` give,
      where it is cheaper to have them together.
    """

    @property
    def feature_info(self) -> Any:  # noqa: ANN401 - timm ships no types
        """`channels()` and `reduction()` of every level, finest first."""

    @property
    def num_features(self) -> int:
        """Width of the coarsest level."""

    def forward_features(
        self, x_BCHW: Tensor, bands: Sequence[Channel] | None = None, valid: Tensor | None = None
    ) -> list[Tensor]:
        """Levels (B, C_i, H / r_i, W / r_i) of physical pixels, finest first."""


@dataclass(frozen=True)
class LoadedEncoder:
    """An encoder that is ready to give features.

    Args:
        name: What tables call it.
        kind: `specialist`, `trunk`, `ensemble`, `timm`, `torchgeo`, `random`,
            `random-convolution`, `image-statistics`, `majority`, or `own` (`wrap_encoder`).
        digest: SHA-256 of its weights and everything else that decides its features.
        module: The network, an `Encoder`, frozen and in evaluation mode.
        bands: The channels it needs; None: it takes any.
        is_floor: It is there to be beaten.
        description: What it is, in a phrase.
    """

    name: str
    kind: str
    digest: str
    module: nn.Module
    bands: tuple[Channel, ...] | None
    is_floor: bool
    description: str


def load_encoder(
    config: EncoderConfig,
    context: DataContext,
    *,
    seed: int = 0,
    registry: Registry | None = None,
) -> LoadedEncoder:
    """Build an encoder; the same arguments give the same features every time.

    Args:
        config: Which one.
        context: The training split; decides the bands and their scaling where the encoder does not
            bring them along.
        seed: Of random weights.
        registry: Where specialists, trunks and ensembles are looked up by name, and an ensemble's
            members are; the default one if not given.

    Raises:
        InputError: If there is no such encoder, or its weights cannot be read or do not fit.
    """
    registry = registry or Registry.open()
    config = resolve_source(config, registry)
    kind, name = kind_of(config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = _build(config, context, registry)
    module.eval().requires_grad_(False)
    return LoadedEncoder(
        name=config.name or default_name(config),
        kind=kind,
        digest=_digest(config, module, context),
        module=module,
        bands=_needed_bands(module),
        is_floor=config.is_floor or kind in FLOORS,
        description=_describe(kind, name, config, module),
    )


def wrap_encoder(name: str, module: nn.Module, *, description: str = "") -> LoadedEncoder:
    """Any network of one's own that keeps the contract of `Encoder`.

    Its features are cached by its class, its bands and its weights: give another name to one that
    differs in anything else.

    Args:
        name: What tables call it.
        module: The network; it is frozen and set to evaluation mode.
        description: What it is, in a phrase.

    Raises:
        InputError: If a part of the contract is missing.
    """
    missing = [
        part
        for part in ("forward_features", "feature_info", "num_features")
        if not hasattr(module, part)
    ]
    if missing:
        raise InputError(
            f"encoder {name}: {type(module).__qualname__} has no {', '.join(missing)}; an encoder "
            "gives a list of levels by forward_features(x_BCHW, bands, valid), and tells of them "
            "in feature_info and num_features as timm's feature networks do"
        )
    module.eval().requires_grad_(False)
    bands = _needed_bands(module)
    settings = {
        "kind": "own",
        "name": name,
        "class": f"{type(module).__module__}.{type(module).__qualname__}",
        "bands": None if bands is None else [channel_to_dict(band) for band in bands],
    }
    return LoadedEncoder(
        name=name,
        kind="own",
        digest=_digest_of(settings, module),
        module=module,
        bands=bands,
        is_floor=False,
        description=description or type(module).__qualname__,
    )


def wrap_ensemble(name: str, ensemble: Ensemble) -> LoadedEncoder:
    """An ensemble that is in memory as an encoder; it is frozen and set to evaluation mode."""
    module = EnsembleEncoder(ensemble.freeze())
    return LoadedEncoder(
        name=name,
        kind="ensemble",
        digest=_digest_of({"kind": "ensemble", **module.identity}, module),
        module=module,
        bands=None,
        is_floor=False,
        description=module.describe(),
    )


def _build(config: EncoderConfig, context: DataContext, registry: Registry) -> nn.Module:
    kind, name = kind_of(config)
    match kind:
        case "timm":
            return build_timm(name, config.weights, context, config.bands)
        case "torchgeo":
            return build_torchgeo(name, config.weights, context, config.bands)
        case "trunk":
            trunk = find_trunk(name, registry)
            return TrunkEncoder(trunk, context, config.bands, config.image_size)
        case "ensemble":
            return EnsembleEncoder(load_ensemble(name, registry))
        case "random":
            return _build_random(name, config, context, registry)
        case "random-convolution":
            return RandomConvolution(context)
        case "image-statistics":
            return ImageStatistics(context)
        case "majority":
            return Constant()
        case _:
            return _load_specialist(name, registry)


def _build_random(
    name: str, config: EncoderConfig, context: DataContext, registry: Registry
) -> nn.Module:
    if name in ARCHITECTURES:
        network = build_backbone(name, len(context.bands), stem_stride=config.stem_stride)
        return PyramidEncoder(network, context)
    try:
        spec = TRUNKS[name] if name in TRUNKS else find_trunk_spec(name, registry)
    except InputError as error:
        raise InputError(
            f"random:{name} is not one of random:{', random:'.join((*ARCHITECTURES, *TRUNKS))}, "
            "and no trunk's file"
        ) from error
    return TrunkEncoder(build_trunk(spec), context, config.bands, config.image_size)


def _load_specialist(source: str, registry: Registry) -> Specialist:
    path = Path(source)
    if path.suffix == ".safetensors":
        specialist = load_specialist(path).freeze()
    elif RunFolder(path).weights.is_file():
        specialist = load_specialist(RunFolder(path).weights).freeze()
    elif len(path.parts) > 1:
        raise InputError(f"encoder {source}: no finished run folder, and no .safetensors file")
    else:
        specialist = registry.get(source)
    # Features come from the backbone; the head is neither part of its cost nor of its identity.
    specialist.head = nn.Identity()
    return specialist


def _needed_bands(module: nn.Module) -> tuple[Channel, ...] | None:
    """The channels that an encoder needs, None if it takes any.

    A specialist with a wavelength-conditioned stem is shown all that there are, and takes what it
    knows of them.
    """
    if isinstance(module, Specialist) and module.spec.takes_any_known:
        return None
    bands: tuple[Channel, ...] | None = getattr(module, "bands", None)
    return bands


def _digest(config: EncoderConfig, module: nn.Module, context: DataContext) -> str:
    kind, name = kind_of(config)
    settings: dict[str, Any] = {"kind": kind}
    if isinstance(module, Specialist):
        settings["spec"] = module.spec.to_dict()
    elif isinstance(module, TrunkEncoder):
        settings = {
            "kind": "trunk",
            "spec": module.trunk.spec.to_dict(),
            "bands": config.bands,
            "image_size": config.image_size,
        }
    elif isinstance(module, EnsembleEncoder):
        settings |= module.identity
    elif kind != "majority":
        settings |= {
            "name": name,
            "data": [channel_to_dict(band) for band in context.bands],
            "bands": config.bands,
            "stem_stride": config.stem_stride,
        }
    return _digest_of(settings, module)


def _digest_of(settings: Mapping[str, Any], module: nn.Module) -> str:
    total = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for key, tensor in sorted(module.state_dict().items()):
        total.update(f"{key} {tensor.dtype} {tuple(tensor.shape)}".encode())
        total.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return total.hexdigest()


def _describe(kind: str, name: str, config: EncoderConfig, module: nn.Module) -> str:
    if isinstance(module, Specialist):
        spec = module.spec
        return (
            f"{spec.architecture} trained for {spec.task} on "
            f"{'any of ' if spec.takes_any_known else ''}{len(spec.bands)} bands "
            f"({', '.join(band.name for band in spec.bands)}) at {spec.gsd:g} m"
        )
    if isinstance(module, TrunkEncoder):
        shape = module.trunk.spec
        given = f" of {', '.join(config.bands)}" if config.bands else ""
        return (
            f"trunk {shape.width} wide and {shape.depth} deep on patches of {shape.patch_size} "
            f"pixels{given}" + (" with random weights" if kind == "random" else "")
        )
    if isinstance(module, EnsembleEncoder):
        return module.describe()
    if kind in ("timm", "torchgeo"):
        weights = Path(config.weights).name if config.weights else "random weights"
        return f"{name} of {kind}, {weights}"
    return {
        "random": f"{name} with random weights",
        "random-convolution": "averages of random convolutions",
        "image-statistics": "mean, deviation and percentiles of each band",
        "majority": "knows nothing but the training labels",
    }[kind]
