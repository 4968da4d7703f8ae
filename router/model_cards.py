"""The cards of trunks and ensembles, from what there is of them.

Multiply-accumulates are counted for one image: of a trunk for three bands at the edge that a gate
looks at (`EnsembleSpec.trunk_image_size`, or the next whole patches); of an ensemble as those of
its trunk and, `top_k` times, the mean over its members of what their cards state. Gate, fusion and
head of an ensemble are small beside and are not counted.
"""

import math
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch

from registry import ModelCard, Registry, SpecialistCard
from registry.checksum import file_sha256
from registry.item import now
from registry.kinds import Card
from router.ensemble_spec import EnsembleSpec
from router.input_size import input_size
from router.manifest import Manifest, Pin
from router.trunk import Trunk
from sensors.bands import Band
from sensors.errors import InputError
from specialists.cost import count_call_macs, count_parameters
from specialists.tensor_files import open_tensors

_RED_GREEN_BLUE = (Band("red", 0.665, 0.03), Band("green", 0.56, 0.03), Band("blue", 0.49, 0.06))


def describe_trunk(trunk: Trunk, weights: Path, **facts: Any) -> ModelCard:  # noqa: ANN401
    """The card of a trunk, measured on it and its file, created now.

    Args:
        trunk: On any device; it is left as it is.
        weights: Its file.
        facts: Name, version and what else of `ModelCard` does not follow from these.
    """
    return ModelCard(
        kind="trunk",
        spec=trunk.spec.to_dict(),
        sha256=file_sha256(weights),
        size=weights.stat().st_size,
        created=now(),
        parameters=count_parameters(trunk),
        macs=_count_trunk_macs(trunk),
        feature_channels=tuple(trunk.feature_info.channels()),
        feature_reduction=tuple(trunk.feature_info.reduction()),
        **facts,
    )


def describe_ensemble(
    manifest: Manifest,
    weights: Path,
    registry: Registry,
    **facts: Any,  # noqa: ANN401
) -> ModelCard:
    """The card of an ensemble, created now.

    Args:
        manifest: What it is made of.
        weights: The file with its gate, fusion and head.
        registry: Where its members and its trunk are.
        facts: Name, version and what else of `ModelCard` does not follow from these.

    Raises:
        InputError: If the file is not the one that the manifest names, or a member or the trunk is
            not in the registry as it is pinned.
    """
    sha256 = file_sha256(weights) if weights.is_file() else "missing"
    if sha256 != manifest.weights_sha256:
        raise InputError(
            f"{weights}: its hash is {sha256}, and the manifest says {manifest.weights_sha256}; "
            "restore the file"
        )
    members, trunk = find_parts(manifest, registry)
    task, spec = manifest.task, manifest.spec
    run = len(members) if spec.takes_all else min(spec.top_k, len(members))
    mean_macs = sum(card.macs for card in members) / len(members)
    parts: list[Card] = [*members, *trunk]
    return ModelCard(
        kind="ensemble",
        spec=manifest.to_dict(),
        sha256=sha256,
        size=weights.stat().st_size,
        created=now(),
        parameters=sum(card.parameters for card in parts) + _count_values(weights),
        macs=round(run * mean_macs) + sum(card.macs for card in trunk),
        feature_channels=spec.channels,
        feature_reduction=spec.reductions,
        bands=() if task is None else task.bands,
        gsd=None if task is None else task.gsd,
        task=None if task is None else task.task,
        classes=() if task is None else task.classes,
        parents=tuple(str(card.reference) for card in parts),
        pinned={
            **{f"member:{pin.reference}": pin.sha256 for pin in manifest.members},
            **({} if manifest.trunk is None else {"trunk": manifest.trunk.sha256}),
        },
        **facts,
    )


def find_parts(
    manifest: Manifest, registry: Registry
) -> tuple[list[SpecialistCard], list[ModelCard]]:
    """Cards of the members, and of the trunk if there is one, as they are pinned.

    Raises:
        InputError: Names those that are not in the registry, or there with another hash.
    """
    problems: list[str] = []
    pins = [*manifest.members, *([] if manifest.trunk is None else [manifest.trunk])]
    cards = [_find_pinned(pin, registry, problems) for pin in pins]
    members = [card for card in cards if isinstance(card, SpecialistCard)]
    trunks = [card for card in cards if isinstance(card, ModelCard)]
    if not problems and len(members) != len(manifest.members):
        problems.append("a member is no specialist, or the trunk is one")
    if problems:
        raise InputError(
            f"the registry {registry.store.root} does not hold what this ensemble pins: "
            f"{'; '.join(problems)}; register these first"
        )
    return members, trunks


def _find_pinned(pin: Pin, registry: Registry, problems: list[str]) -> Card | None:
    try:
        card = registry.card(pin.reference)
    except InputError:
        problems.append(f"{pin.reference} is missing")
        return None
    if card.sha256 != pin.sha256:
        problems.append(f"{pin.reference} is there with the hash {card.sha256}, not {pin.sha256}")
        return None
    return card


def _count_trunk_macs(trunk: Trunk) -> int:
    edge = EnsembleSpec.trunk_image_size or trunk.spec.image_size
    size = input_size(edge, edge, trunk.spec.patch_size)
    twin = deepcopy(trunk).to("meta")
    image_BCHW = torch.empty(1, len(_RED_GREEN_BLUE), *size, device="meta")
    return count_call_macs(lambda: twin.embed(image_BCHW, _RED_GREEN_BLUE))


def _count_values(weights: Path) -> int:
    """Numbers in a safetensors file."""
    with open_tensors(weights) as file:
        return sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118
