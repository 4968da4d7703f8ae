"""Everything that can be evaluated, as one kind of object: from a line of text to a frozen network.

Tensor shapes: B batch, C channels, H rows, W columns, D features.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from evaluation._adapters import PyramidEncoder
from evaluation._floor_encoders import Constant, ImageStatistics, RandomConvolution
from evaluation._timm_networks import build_timm
from evaluation._torchgeo_networks import build_torchgeo
from evaluation.context import DataContext
from registry import Registry
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
]


class Encoder(Protocol):
    """A feature network.

    It may also have:

    - `bands`: the channels it needs; without, it takes any;
    - `embed(x_BCHW, bands, valid) -> (B, D)`: its own vector of an image, used instead of pooled
      levels;
    - `gate_weights(x_BCHW, bands, valid) -> {member: (B,)}`: for ensembles, the weight of every
      member for each image.
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


@dataclass
class EncoderConfig:
    """Which encoder.

    Args:
        source: One of

            - `name` or `name@version`: a specialist of the registry;
            - the path of a specialist's `.safetensors` file, or of its run folder;
            - `timm:NAME` or `torchgeo:NAME`: a network of these libraries;
            - `random:ARCHITECTURE`: a specialist's network with random weights;
            - `random-convolution`, `image-statistics`, `majority`: floors.
        name: What tables call it; by default from `source`.
        weights: Local weight file for `timm:` and `torchgeo:`; without, weights are random.
        bands: Names of the data's bands that a `timm:` or `torchgeo:` network gets, in order; all
            by default.
        stem_stride: Of a `random:` network, see `specialists.backbone`.
        is_floor: Show it as a floor; those named above, and `random:`, always are.
    """

    source: str
    name: str | None = None
    weights: str | None = None
    bands: list[str] | None = None
    stem_stride: int = 4
    is_floor: bool = False


@dataclass(frozen=True)
class LoadedEncoder:
    """An encoder that is ready to give features.

    Args:
        name: What tables call it.
        kind: `specialist`, `timm`, `torchgeo`, `random`, `random-convolution`, `image-statistics`
            or `majority`.
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


def parse_encoder(entry: "str | Mapping[str, Any] | EncoderConfig") -> EncoderConfig:
    """The configuration of an encoder from its source alone, or from named settings.

    Raises:
        InputError: If there is no source, or a setting is unknown.
    """
    if isinstance(entry, EncoderConfig):
        return entry
    settings: dict[str, Any] = {"source": entry} if isinstance(entry, str) else {**entry}
    known = [setting.name for setting in fields(EncoderConfig)]
    unknown = [name for name in settings if name not in known]
    if unknown or not settings.get("source"):
        raise InputError(
            f"encoder {entry!r}: expected a source and, if wanted, {', '.join(known[1:])}"
            + (f"; unknown: {', '.join(map(str, unknown))}" if unknown else "")
        )
    return EncoderConfig(**settings)


def is_random(config: EncoderConfig) -> bool:
    """Whether its features depend on the seed."""
    kind, _ = _kind(config)
    return kind in ("random", "random-convolution") or (
        kind in ("timm", "torchgeo") and config.weights is None
    )


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
        registry: Where specialists are looked up by name; the default one if not given.

    Raises:
        InputError: If there is no such encoder, or its weights cannot be read or do not fit.
    """
    kind, name = _kind(config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if kind == "specialist":
            module = _load_specialist(name, registry)
        else:
            module = _BUILDERS[kind](name, config, context)
    module.eval().requires_grad_(False)
    bands = getattr(module, "bands", None)
    return LoadedEncoder(
        name=config.name or _default_name(kind, name, config),
        kind=kind,
        digest=_digest(kind, name, module, context),
        module=module,
        bands=bands,
        is_floor=config.is_floor or kind in _FLOORS,
        description=_describe(kind, name, config, module),
    )


_FLOORS = ("random", "random-convolution", "image-statistics", "majority")
_BUILDERS: dict[str, Callable[[str, EncoderConfig, DataContext], nn.Module]] = {
    "timm": lambda name, config, context: build_timm(name, config.weights, context, config.bands),
    "torchgeo": lambda name, config, context: build_torchgeo(
        name, config.weights, context, config.bands
    ),
    "random": lambda name, config, context: _build_random(name, config, context),
    "random-convolution": lambda name, config, context: RandomConvolution(context),
    "image-statistics": lambda name, config, context: ImageStatistics(context),
    "majority": lambda name, config, context: Constant(context),
}


def _kind(config: EncoderConfig) -> tuple[str, str]:
    """Kind of an encoder, and what is left to say beside it."""
    kind, separator, name = config.source.partition(":")
    if separator and kind in ("timm", "torchgeo", "random"):
        return kind, name
    return (kind, kind) if kind in _FLOORS[1:] else ("specialist", config.source)


def _build_random(name: str, config: EncoderConfig, context: DataContext) -> nn.Module:
    if name not in ARCHITECTURES:
        raise InputError(f"random:{name} is not one of random:{', random:'.join(ARCHITECTURES)}")
    network = build_backbone(name, len(context.bands), stem_stride=config.stem_stride)
    return PyramidEncoder(network, context)


def _load_specialist(source: str, registry: Registry | None) -> Specialist:
    path = Path(source)
    if path.suffix == ".safetensors":
        specialist = load_specialist(path).freeze()
    elif path.is_dir():
        specialist = load_specialist(RunFolder(path).weights).freeze()
    elif len(path.parts) > 1:
        raise InputError(f"encoder {source}: no such run folder or .safetensors file")
    else:
        specialist = (registry or Registry.open()).get(source)
    # Features come from the backbone; the head is neither part of its cost nor of its identity.
    specialist.head = nn.Identity()
    return specialist


def _default_name(kind: str, name: str, config: EncoderConfig) -> str:
    if kind == "specialist":
        path = Path(name)
        if path.suffix != ".safetensors":
            return path.name
        return path.parent.name if path == RunFolder(path.parent).weights else path.stem
    if kind in ("timm", "torchgeo") and is_random(config):
        return f"{kind}-{name}-random"
    return name if kind == name else f"{kind}-{name}"


def _digest(kind: str, name: str, module: nn.Module, context: DataContext) -> str:
    if isinstance(module, Specialist):
        settings: dict[str, Any] = {"spec": module.spec.to_dict()}
    else:
        settings = {"name": name, "bands": [channel_to_dict(band) for band in context.bands]}
    total = hashlib.sha256(json.dumps({"kind": kind, **settings}, sort_keys=True).encode())
    for key, tensor in sorted(module.state_dict().items()):
        total.update(f"{key} {tensor.dtype} {tuple(tensor.shape)}".encode())
        total.update(tensor.contiguous().numpy().tobytes())
    return total.hexdigest()


def _describe(kind: str, name: str, config: EncoderConfig, module: nn.Module) -> str:
    if isinstance(module, Specialist):
        spec = module.spec
        return (
            f"{spec.architecture} trained for {spec.task} on {len(spec.bands)} bands "
            f"({', '.join(band.name for band in spec.bands)}) at {spec.gsd:g} m"
        )
    if kind in ("timm", "torchgeo"):
        weights = Path(config.weights).name if config.weights else "random weights"
        return f"{name} of {kind}, {weights}"
    return {
        "random": f"{name} with random weights",
        "random-convolution": "averages of random convolutions",
        "image-statistics": "mean, deviation and percentiles of each band",
        "majority": "knows nothing but the training labels",
    }[kind]
