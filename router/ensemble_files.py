"""Ensembles in folders and in the registry: a manifest beside one file of weights."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from registry import Registry
from registry.checksum import file_sha256
from router.ensemble import Ensemble
from router.manifest import FILE, WEIGHTS, Manifest, Pin, read_manifest, write_manifest
from router.member import load_pinned_member
from router.task_ensemble import TaskEnsemble
from router.trunk import Trunk
from router.trunk_weights import load_trunk
from sensors.errors import InputError
from specialists.header import encode_record
from specialists.tensor_files import check_finite, check_tensors, open_tensors, write_tensors

METADATA_KEY = "ensemble"


def save_ensemble(
    network: Ensemble | TaskEnsemble,
    folder: str | Path,
    action: str = "compose",
    reasons: Sequence[str] = (),
) -> Manifest:
    """Write an ensemble, with its head if it has one, as the next manifest of a folder.

    Members and trunk are pinned, not copied. An interruption leaves the earlier manifest as it was.

    Args:
        network: On any device.
        folder: Of this ensemble alone; made if it is not there.
        action: What was done, one of `router.manifest.ACTIONS`.
        reasons: Why, in sentences.

    Raises:
        InputError: If a weight is not finite, or the folder cannot be used.
    """
    folder = Path(folder)
    earlier = read_manifest(folder) if (folder / FILE).exists() else None
    version = earlier.version + 1 if earlier else 1
    name = WEIGHTS if version == 1 else f"weights-{version:04d}.safetensors"
    write_weights(network, folder / name)
    sha256 = file_sha256(folder / name)
    if earlier is not None and sha256 == earlier.weights_sha256:
        (folder / name).unlink()
        name = earlier.weights_file
    manifest = describe_ensemble(network, name, sha256)
    if earlier is not None:
        parts = ("members", "trunk", "weights_file", "weights_sha256", "spec", "task")
        changes = {part: getattr(manifest, part) for part in parts}
        manifest = earlier.following(action, tuple(reasons), **changes)
    else:
        manifest = Manifest.from_dict(
            manifest.to_dict() | {"action": action, "reasons": list(reasons)}
        )
    write_manifest(folder, manifest)
    return manifest


def describe_ensemble(
    network: Ensemble | TaskEnsemble, weights_file: str, weights_sha256: str
) -> Manifest:
    """The first manifest of an ensemble whose weights are in a file."""
    ensemble = encoder_of(network)
    return Manifest(
        members=tuple(member.pin for member in ensemble.members),
        trunk=ensemble.trunk_pin,
        weights_file=weights_file,
        weights_sha256=weights_sha256,
        spec=ensemble.spec,
        task=network.spec if isinstance(network, TaskEnsemble) else None,
    )


def write_weights(network: Ensemble | TaskEnsemble, path: Path) -> None:
    """Write gate, fusion and head; the same weights are the same bytes every time.

    Raises:
        InputError: If a weight is not finite.
    """
    ensemble = encoder_of(network)
    record = {
        "members": [vars(member.pin) for member in ensemble.members],
        "trunk": None if ensemble.trunk_pin is None else vars(ensemble.trunk_pin),
        "spec": ensemble.spec.to_dict(),
        "task": network.spec.to_dict() if isinstance(network, TaskEnsemble) else None,
    }
    write_tensors(own_parts(network), path, encode_record(METADATA_KEY, record))


def own_parts(network: Ensemble | TaskEnsemble) -> nn.ModuleDict:
    """What is the ensemble's own: neither members nor trunk."""
    ensemble = encoder_of(network)
    parts: dict[str, nn.Module] = {"gate": ensemble.gate, "fusion": ensemble.fusion}
    if isinstance(network, TaskEnsemble):
        parts["head"] = network.head
    return nn.ModuleDict(parts)


def encoder_of(network: Ensemble | TaskEnsemble) -> Ensemble:
    """The ensemble itself."""
    return network.ensemble if isinstance(network, TaskEnsemble) else network


def load_ensemble(source: str | Path, registry: Registry | None = None) -> Ensemble:
    """An ensemble without its head; arguments and errors as for `load_with_head`."""
    return encoder_of(load_with_head(source, registry))


def load_task_ensemble(source: str | Path, registry: Registry | None = None) -> TaskEnsemble:
    """An ensemble with its head.

    Arguments and errors as for `load_with_head`; one without a head is refused, too.
    """
    network = load_with_head(source, registry)
    if not isinstance(network, TaskEnsemble):
        raise InputError(
            f"ensemble {source} has no head, so it answers no task; teach it one by "
            "compose-ensemble, or read its features by Ensemble.load"
        )
    return network


def load_with_head(source: str | Path, registry: Registry | None = None) -> Ensemble | TaskEnsemble:
    """Open an ensemble, in evaluation mode on the CPU; every part is verified by its hash.

    Args:
        source: Its folder, one of its manifests, or its name in the registry.
        registry: Where members, trunk, and registered ensembles are; the default one if not given.

    Raises:
        InputError: If there is none, or a part is missing, was changed, or is another than the
            manifest pins.
    """
    registry = registry or Registry.open()
    manifest, weights = find_manifest(source, registry)
    trunk = None if manifest.trunk is None else load_pinned_trunk(manifest.trunk, registry)
    members = [load_pinned_member(pin, registry) for pin in manifest.members]
    network: Any = Ensemble(manifest.spec, members, trunk)
    if manifest.task is not None:
        network = TaskEnsemble(network, manifest.task)
    parts = own_parts(network)
    with open_tensors(weights) as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    check_tensors(tensors, parts.state_dict(), f"{weights}: the tensors are not the manifest's")
    check_finite(tensors, str(weights))
    parts.load_state_dict(tensors)
    network.eval()
    return network  # type: ignore[no-any-return]


def find_manifest(source: str | Path, registry: Registry) -> tuple[Manifest, Path]:
    """The manifest that a folder, a file or a registered name means, and its file of weights.

    Raises:
        InputError: If there is none, or the weights are missing or were changed.
    """
    path = Path(source)
    if not path.exists() and len(path.parts) == 1:
        card = registry.card(str(source))
        weights = registry.weights(card.reference, kind="ensemble")
        return Manifest.from_dict(card.spec), weights  # type: ignore[arg-type]
    manifest = read_manifest(path)
    folder = path if path.is_dir() else path.parent
    folder = folder if (folder / FILE).exists() else folder.parent
    weights = folder / manifest.weights_file
    if not weights.is_file():
        raise InputError(f"{weights} is missing, which manifest {manifest.version} of {path} names")
    if file_sha256(weights) != manifest.weights_sha256:
        raise InputError(
            f"{weights} was changed: its hash is not the one that manifest {manifest.version} "
            "pins; restore it"
        )
    return manifest, weights


def load_pinned_trunk(pin: Pin, registry: Registry) -> tuple[Trunk, Pin]:
    """The trunk that a manifest names, at exactly the bytes that it pins, and that pin.

    Raises:
        InputError: If the registry has no such bytes, or they were changed.
    """
    try:
        path = registry.blob(pin.sha256)
    except InputError as error:
        raise InputError(
            f"trunk {pin.reference} (sha256 {pin.sha256}) cannot be had from the registry "
            f"{registry.store.root}: {error}"
        ) from error
    return load_trunk(path), pin
