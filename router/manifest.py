"""The manifest of an ensemble: what it is made of, every part pinned by its hash, and why.

    FOLDER/
      ensemble.json             the manifest that counts
      manifests/0001.json       every manifest there ever was, in order
      weights.safetensors       gate, fusion and head of the first manifest
      weights-0002.safetensors  those of a later one that changed them

A manifest is written after the weights that it names, and `ensemble.json` is replaced last, at
once: an interruption leaves the earlier ensemble as it was. Nothing is ever deleted.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from registry.checksum import check_sha256
from registry.names import Reference, check_name, check_version
from router.ensemble_spec import EnsembleSpec
from sensors.errors import InputError
from specialists.run import write_json
from specialists.task_spec import TaskSpec

FORMAT = 1
FILE = "ensemble.json"
WEIGHTS = "weights.safetensors"
ACTIONS = (
    *("compose", "fit", "refine"),
    *("add", "replace", "reject", "remove", "prune", "rollback"),
)
_FOLDER = "manifests"


@dataclass(frozen=True)
class Pin:
    """A registered model at exactly one state.

    Args:
        name, version: In the registry.
        sha256: Of its weight file, hexadecimal.
    """

    name: str
    version: str
    sha256: str

    def __post_init__(self) -> None:
        check_name(self.name)
        check_version(self.version)
        check_sha256(self.sha256)

    @property
    def reference(self) -> Reference:
        """Name and version."""
        return Reference(self.name, self.version)


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """One state of an ensemble; JSON-plain through `to_dict`.

    Args:
        members: Specialists, in the order of their references.
        trunk: What the gate looks through; None where it needs none.
        weights_file: Name of the file with gate, fusion and head, beside the manifest.
        weights_sha256: Its hash.
        spec: Gate and fusion.
        task: The head, if it has one.
        version: 1 for the first, then one more each time.
        parent: The version it came from; None for the first.
        action: One of `ACTIONS`: what made it.
        reasons: Why, in sentences, with figures.
        created: When, RFC 3339 in UTC; now if not given.

    Raises:
        InputError: If a value cannot be.
    """

    members: tuple[Pin, ...]
    trunk: Pin | None
    weights_file: str
    weights_sha256: str
    spec: EnsembleSpec
    task: TaskSpec | None = None
    version: int = 1
    parent: int | None = None
    action: str = "compose"
    reasons: tuple[str, ...] = ()
    created: str = ""

    def __post_init__(self) -> None:
        if not self.members:
            raise InputError("an ensemble needs at least one member")
        if self.action not in ACTIONS:
            raise InputError(f"action {self.action!r} is not one of {', '.join(ACTIONS)}")
        if Path(self.weights_file).name != self.weights_file or not self.weights_file:
            raise InputError(f"weights {self.weights_file!r} is not a file name")
        if type(self.version) is not int or self.version < 1:
            raise InputError(f"version {self.version!r} of a manifest is not 1 or more")
        if self.parent is not None and not (
            type(self.parent) is int and 1 <= self.parent < self.version
        ):
            raise InputError(f"parent {self.parent!r} of manifest {self.version} is no earlier one")
        check_sha256(self.weights_sha256)
        now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        object.__setattr__(self, "created", self.created or now)

    def following(self, action: str, reasons: tuple[str, ...], **changes: Any) -> "Manifest":  # noqa: ANN401
        """The next manifest, made now: this one with changes."""
        return replace(
            self,
            **changes,
            version=self.version + 1,
            parent=self.version,
            action=action,
            reasons=reasons,
            created="",
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON form."""
        return {
            "format": FORMAT,
            "version": self.version,
            "parent": self.parent,
            "created": self.created,
            "action": self.action,
            "reasons": list(self.reasons),
            "members": [vars(pin).copy() for pin in self.members],
            "trunk": None if self.trunk is None else vars(self.trunk).copy(),
            "weights": {"file": self.weights_file, "sha256": self.weights_sha256},
            "spec": self.spec.to_dict(),
            "task": None if self.task is None else self.task.to_dict(),
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> "Manifest":
        """Inverse of `to_dict`, for records that may come from anywhere.

        Raises:
            InputError: If a field is missing, unknown, or refused.
        """
        if not isinstance(record, Mapping) or record.get("format") != FORMAT:
            raise InputError(f"not a manifest of an ensemble in format {FORMAT}")
        try:
            task = record["task"]
            manifest = cls(
                members=tuple(_pin(entry) for entry in record["members"]),
                trunk=None if record["trunk"] is None else _pin(record["trunk"]),
                weights_file=str(record["weights"]["file"]),
                weights_sha256=record["weights"]["sha256"],
                spec=EnsembleSpec.from_dict(record["spec"]),
                task=None if task is None else TaskSpec.from_dict(task),
                version=record["version"],
                parent=record["parent"],
                action=record["action"],
                reasons=tuple(str(reason) for reason in record["reasons"]),
                created=str(record["created"]),
            )
        except (KeyError, TypeError) as error:
            raise InputError(f"a manifest of an ensemble lacks {error}, or it is not one") from None
        if manifest.to_dict() != dict(record):
            raise InputError("a manifest of an ensemble has fields that are not its own")
        return manifest


def read_manifest(path: Path | str) -> Manifest:
    """Read a manifest.

    Args:
        path: Its file, or the folder of an ensemble.

    Raises:
        InputError: If there is none, or it is not one.
    """
    path = Path(path)
    file = path / FILE if path.is_dir() else path
    try:
        return Manifest.from_dict(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, RecursionError) as error:
        if isinstance(error, InputError):
            raise InputError(f"{file}: {error}") from error
        raise InputError(f"{file} is not the manifest of an ensemble: {error}") from error


def list_manifests(folder: Path | str) -> tuple[Manifest, ...]:
    """Every manifest of an ensemble up to the one that counts, the first one first.

    Raises:
        InputError: If one of them is not a manifest.
    """
    folder = Path(folder)
    last = read_manifest(folder).version
    files = [folder / _FOLDER / f"{version:04d}.json" for version in range(1, last + 1)]
    return tuple(read_manifest(file) for file in files)


def write_manifest(folder: Path | str, manifest: Manifest) -> Path:
    """Keep a manifest and make it the one that counts; its weights are there already.

    Args:
        folder: Of the ensemble.
        manifest: The new one; the next version, or the first.

    Returns:
        The file that counts.

    Raises:
        InputError: If the folder's manifest is not the one before this.
    """
    folder = Path(folder)
    last = read_manifest(folder).version if (folder / FILE).exists() else 0
    if manifest.version != last + 1:
        raise InputError(
            f"{folder} is at manifest {last}, so the next one is {last + 1}, not {manifest.version}"
        )
    kept = folder / _FOLDER / f"{manifest.version:04d}.json"
    kept.parent.mkdir(parents=True, exist_ok=True)
    # One that an interrupted change left behind was never the one that counts.
    write_json(kept, manifest.to_dict())
    write_json(folder / FILE, manifest.to_dict())
    return folder / FILE


def _pin(entry: Mapping[str, Any]) -> Pin:
    return Pin(entry["name"], entry["version"], entry["sha256"])
