"""The record of a cell: found again, copied where a seed changes nothing, or written anew."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluation.cells import Outcome
from evaluation.folder import ResultsFolder
from evaluation.scores import confusion, per_class, score
from evaluation.tasks import main_metric
from specialists.run import package_versions


@dataclass(frozen=True)
class CellRecord:
    """A cell's place in the folder of results.

    Args:
        folder: The folder.
        data, protocol, encoder: Names of what is evaluated.
        seed: The seed.
        key: SHA-256 of everything that decides the outcome.
        data_digest, encoder_digest: SHA-256 of the data set and of the encoder.
    """

    folder: ResultsFolder
    data: str
    protocol: str
    encoder: str
    seed: int
    key: str
    data_digest: str
    encoder_digest: str

    @property
    def predictions(self) -> Path:
        """File of the predictions."""
        return self.folder.file("cells", *self._names, suffix=".npz")

    def read(self) -> dict[str, Any] | None:
        """The record, if it is of this very cell; an empty cell is tried again and so not read."""
        record = self.folder.read("cells", *self._names)
        if record is None or record["key"] != self.key or record["status"] != "done":
            return None
        return record if self.predictions.exists() else None

    def copy(self, other: "CellRecord") -> dict[str, Any] | None:
        """Take over what another cell of the same key found, if it is finished."""
        record = other.read()
        if record is not None:
            shutil.copyfile(other.predictions, self.predictions)
            record = {**record, **self._identity(), "deterministic": True}
            self.folder.write("cells", *self._names, content=record)
        return record

    def write(self, outcome: Outcome, *, seconds: float, command: str) -> dict[str, Any]:
        """Keep what came out; predictions first, so that a record is never without them."""
        predictions = outcome.predictions
        table = confusion(predictions)
        metric, _ = main_metric(predictions.task)
        record = {
            **self._identity(),
            "status": "done",
            "reason": None,
            "main_metric": metric,
            "scores": {name: float(values[0]) for name, values in score(predictions).items()},
            "per_class": per_class(predictions),
            "confusion": None if table is None else table.tolist(),
            "hyperparameters": dict(outcome.hyperparameters),
            "counts": dict(outcome.counts),
            "gate": outcome.gate,
            "seconds": round(seconds, 2),
            "command": command,
        }
        predictions.save(self.predictions)
        self.folder.write("cells", *self._names, content=record)
        return record

    def write_empty(self, reason: str, *, command: str) -> dict[str, Any]:
        """Mark the cell as one that cannot be filled, and say why."""
        self.predictions.unlink(missing_ok=True)
        record = {**self._identity(), "status": "empty", "reason": reason, "command": command}
        self.folder.write("cells", *self._names, content=record)
        return record

    @property
    def _names(self) -> tuple[str, ...]:
        return self.data, self.protocol, self.encoder, f"seed{self.seed}"

    def _identity(self) -> Mapping[str, Any]:
        return {
            "key": self.key,
            "data_digest": self.data_digest,
            "encoder_digest": self.encoder_digest,
            "versions": package_versions(),
            "data": self.data,
            "protocol": self.protocol,
            "encoder": self.encoder,
            "seed": self.seed,
        }
