"""Which encoders are compared: those that were asked for, and the floors beside them."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from evaluation.encoders import EncoderConfig, parse_encoder
from evaluation.sources import default_name, kind_of, resolve_source
from registry import Registry
from sensors import Channel, InputError
from specialists import SpecialistSpec, read_spec
from specialists.run import RunFolder

FLOORS = ("majority", "image-statistics", "random-convolution")


def line_up(
    entries: Sequence[Any], bands: Sequence[Channel], registry: Registry, *, floors: bool
) -> list[EncoderConfig]:
    """The encoders that are evaluated on a data set.

    Args:
        entries: What was asked for, see `parse_encoder`.
        bands: Of the data set.
        registry: Where specialists, trunks and ensembles are looked up by name.
        floors: Add the floors: those of `FLOORS`, and one of random weights of the same shape for
            each network that was asked for and can take these bands.

    Raises:
        InputError: If a specialist is not there, or two encoders have the same name.
    """
    asked = [resolve_source(parse_encoder(entry), registry) for entry in entries]
    twins = [_random_twin(config, tuple(bands), registry) for config in asked]
    chosen = list(asked)
    if floors:
        beside = [EncoderConfig(source) for source in FLOORS]
        beside += [twin for twin in twins if twin is not None]
        for floor in beside:
            if floor not in chosen:
                chosen.append(floor)
    named = [config.name for config in chosen if config.name is not None]
    twice = {name for name in named if named.count(name) > 1}
    if twice:
        raise InputError(f"two encoders are named {', '.join(sorted(twice))}; give another name")
    return chosen


def _random_twin(
    config: EncoderConfig, bands: tuple[Channel, ...], registry: Registry
) -> EncoderConfig | None:
    """A network of the same shape and random weights; None for what has no weights, or no bands.

    An ensemble has none: what it adds shows beside its members, not beside random ones.
    """
    kind = config.source.partition(":")[0]
    if kind in ("timm", "torchgeo"):
        if config.weights is None:
            return None
        name = config.source.partition(":")[2]
        return replace(config, weights=None, name=f"{name}-random", is_floor=True)
    if kind_of(config)[0] == "trunk":
        name = config.source.partition(":")[2]
        own = config.name or default_name(config)
        return replace(config, source=f"random:{name}", name=f"{own}-random", is_floor=True)
    if kind_of(config)[0] in ("random", "ensemble") or config.source in FLOORS:
        return None
    spec = _spec(config.source, registry)
    if not spec.match(bands).is_applicable:
        return None
    twin = EncoderConfig(f"random:{spec.architecture}", stem_stride=spec.stem_stride)
    if spec.stem_stride != EncoderConfig.stem_stride:
        twin.name = f"random-{spec.architecture}-stem{spec.stem_stride}"
    return twin


def _spec(source: str, registry: Registry) -> SpecialistSpec:
    path = Path(source)
    if path.suffix == ".safetensors":
        return read_spec(path)
    if path.is_dir():
        return read_spec(RunFolder(path).weights)
    return registry.specialist(source).spec
