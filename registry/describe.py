"""From a finished training run, or a specialist in memory, to weights and card for the store."""

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from registry.card import SpecialistCard
from registry.checksum import file_sha256
from registry.item import now
from registry.prototype import Prototype
from registry.weights import read_metadata
from sensors.errors import InputError
from specialists.cost import count_macs, count_parameters
from specialists.files import load_specialist, save_weights
from specialists.model import Specialist
from specialists.run import RunFolder
from specialists.spec import SpecialistSpec


@dataclass(frozen=True)
class Candidate:
    """What is about to be registered.

    Args:
        specialist: The network.
        weights: File with its weights.
        training: As in `SpecialistCard`.
        metrics: As in `SpecialistCard`.
    """

    specialist: Specialist
    weights: Path
    training: Mapping[str, Any]
    metrics: Mapping[str, Any]

    def card(
        self,
        name: str,
        version: str,
        license: str,
        description: str,
        parents: tuple[str, ...],
        prototypes: tuple[Prototype, ...],
    ) -> SpecialistCard:
        """Its card, measured on the specialist and its file, created now."""
        info = self.specialist.feature_info
        return SpecialistCard(
            name=name,
            version=version,
            spec=self.specialist.spec,
            sha256=file_sha256(self.weights),
            size=self.weights.stat().st_size,
            created=now(),
            parameters=count_parameters(self.specialist),
            macs=count_macs(self.specialist),
            feature_channels=tuple(info.channels()),
            feature_reduction=tuple(info.reduction()),
            license=license,
            description=description,
            training=self.training,
            metrics=self.metrics,
            parents=parents,
            prototypes=prototypes,
        )


@contextmanager
def candidate(
    source: str | Path | Specialist,
    training: Mapping[str, Any] | None = None,
    metrics: Mapping[str, Any] | None = None,
) -> Iterator[Candidate]:
    """Open what is to be registered; its weight file may be temporary.

    Args:
        source: A finished run folder, or a specialist.
        training: Instead of what the run recorded.
        metrics: Instead of what the run recorded.

    Raises:
        InputError: If the folder is not that of a finished run, or its files contradict each other.
    """
    if isinstance(source, str | Path):
        run = RunFolder(Path(source))
        specialist = _load_run(run)
        recorded = [read_record(run.path / f"{name}.json") for name in ("training", "metrics")]
        yield Candidate(
            specialist,
            run.weights,
            recorded[0] if training is None else training,
            recorded[1] if metrics is None else metrics,
        )
        return
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "weights.safetensors"
        save_weights(source, weights)
        yield Candidate(source, weights, training or {}, metrics or {})


def _load_run(run: RunFolder) -> Specialist:
    if run.status != "finished" or not run.weights.is_file():
        raise InputError(
            f"{run.path} is not the folder of a finished training run: it needs metrics.json and "
            "weights.safetensors; run train-specialist with the same run_dir to finish it"
        )
    read_metadata(run.weights)
    specialist = load_specialist(run.weights)
    if SpecialistSpec.from_dict(read_record(run.path / "spec.json")) != specialist.spec:
        raise InputError(f"{run.path}: spec.json contradicts weights.safetensors; train again")
    return specialist


def read_record(path: Path) -> dict[str, Any]:
    """One of the JSON files that a run has left behind.

    Raises:
        InputError: If it is not there, or holds no JSON object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: {error}; train again, or restore the file") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected a JSON object")
    return content
