"""Which encoder: what a user writes down."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from registry import Registry
from registry.kinds import kind_of as kind_of_card
from router import TRUNKS
from router.manifest import FILE as MANIFEST
from sensors import InputError
from specialists.run import RunFolder
from specialists.spec import ARCHITECTURES

FLOORS = ("random", "random-convolution", "image-statistics", "majority")
"""Kinds of encoders that are there to be beaten."""

_LIBRARIES = ("timm", "torchgeo")
_NAMED = (*_LIBRARIES, "random", "trunk", "ensemble")


@dataclass
class EncoderConfig:
    """Which encoder.

    Args:
        source: One of

            - `name` or `name@version`: a specialist, a trunk or an ensemble of the registry;
            - the path of a specialist's `.safetensors` file, or of its run folder;
            - the path of an ensemble's folder; `ensemble:PATH` of one of its manifests, too;
            - `timm:NAME` or `torchgeo:NAME`: a network of these libraries;
            - `trunk:PATH`: a trunk's file, its run folder, its name in the registry, or a `.pth`
              file of DOFA's published weights;
            - `random:ARCHITECTURE`: a specialist's network with random weights; `random:SIZE` (also
              `trunk:SIZE`, such as `trunk:dofa-nano`) and `random:PATH`: a trunk's;
            - `random-convolution`, `image-statistics`, `majority`: floors.
        name: What tables call it; by default from `source`.
        weights: Local weight file for `timm:` and `torchgeo:`; without, weights are random.
        bands: Names of the data's bands that a `timm:` or `torchgeo:` network or a trunk gets, in
            order; all by default.
        image_size: Edge in pixels that images are resized to for a trunk; by default they grow to
            whole patches.
        stem_stride: Of a `random:` network, see `specialists.backbone`.
        is_floor: Show it as a floor; those named above, and `random:`, always are.
    """

    source: str
    name: str | None = None
    weights: str | None = None
    bands: list[str] | None = None
    image_size: int | None = None
    stem_stride: int = 4
    is_floor: bool = False


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


def resolve_source(config: EncoderConfig, registry: Registry) -> EncoderConfig:
    """The same encoder, its kind written out where only its folder or the registry tells it.

    Args:
        config: Any encoder.
        registry: Where names are looked up.

    Raises:
        InputError: If a name is not in the registry.
    """
    kind, source = kind_of(config)
    path = Path(source)
    if kind != "specialist":
        return config
    if (path / MANIFEST).is_file():
        found = f"ensemble:{source}"
    elif path.suffix == ".safetensors" or len(path.parts) > 1 or path.exists():
        return config
    else:
        card = registry.card(source)
        if kind_of_card(card) == "specialist":
            return config
        found = f"{kind_of_card(card)}:{card.reference}"
    return replace(config, source=found, name=config.name or default_name(config))


def is_random(config: EncoderConfig) -> bool:
    """Whether its features depend on the seed."""
    kind, _ = kind_of(config)
    return kind in ("random", "random-convolution") or (
        kind in _LIBRARIES and config.weights is None
    )


def kind_of(config: EncoderConfig) -> tuple[str, str]:
    """Kind of an encoder, and its name among those of its kind.

    Raises:
        InputError: If a setting does not belong to that kind.
    """
    kind, _, name = config.source.partition(":")
    if kind not in _NAMED:
        kind, name = kind if kind in FLOORS else "specialist", config.source
    if kind == "trunk" and name in TRUNKS:
        kind = "random"
    takes = {"weights": kind in _LIBRARIES}
    takes["image_size"] = kind == "trunk" or (kind == "random" and name not in ARCHITECTURES)
    takes["bands"] = takes["weights"] or takes["image_size"]
    refused = [setting for setting, fits in takes.items() if getattr(config, setting) and not fits]
    if refused:
        raise InputError(
            f"encoder {config.source}: {', '.join(refused)} cannot be set; weights and bands are "
            "settings of timm:NAME and torchgeo:NAME, bands and image_size of trunk:PATH, and this "
            "one brings its own"
        )
    if config.stem_stride not in (2, 4):
        raise InputError(f"encoder {config.source}: stem_stride {config.stem_stride} is not 2 or 4")
    return kind, name


def default_name(config: EncoderConfig) -> str:
    """What tables call an encoder whose configuration does not say."""
    kind, name = kind_of(config)
    if kind in ("specialist", "trunk", "ensemble"):
        return _name_of_file(name)
    if kind == "random":
        return f"random-{_name_of_file(name)}"
    if kind in _LIBRARIES and is_random(config):
        return f"{kind}-{name}-random"
    return name if kind == name else f"{kind}-{name}"


def _name_of_file(name: str) -> str:
    """A name from that of a file or run folder; any other name stays as it is."""
    path = Path(name)
    if path.suffix == ".json":  # a manifest in an ensemble's folder
        folder = path.parent if path.name == MANIFEST else path.parent.parent
        return folder.name if path.name == MANIFEST else f"{folder.name}-{path.stem}"
    if path.suffix not in (".safetensors", ".pth"):
        return path.name
    return path.parent.name if path == RunFolder(path.parent).weights else path.stem
