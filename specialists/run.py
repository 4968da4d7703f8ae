"""The folder a training run leaves behind, and how an interrupted run is recognised.

    RUN_DIR/
      config.yaml            the resolved configuration
      spec.json              what network it is
      weights.safetensors    the weights that were best on the selection split
      metrics.json           scores on the selection and test splits, and the floors'
      training.json          data, seed, time, machine, versions, for the card
      reconstruction.png     what was made of masked chips, where that was the training
      reconstructions/       the same after every epoch, where a trunk is trained
      decoder.safetensors    what reconstructed them, for a trunk
      before.json            what a trunk reconstructed before, where it went on from another
      slimming.json, .png    what a slimmed specialist is worth and costs, before and after
      ensemble.json          what an ensemble is made of, every part pinned by its hash
      manifests/             the same of every state that it had; weights-*.safetensors go with it
      gate_usage.png, .json  how often an ensemble asks each of its members
      checkpoints/           last.ckpt to resume from, best.ckpt
      logs/                  CSV and TensorBoard

Every file appears at once and whole; `metrics.json` is written last, and a folder that has it is
finished.
"""

import json
import math
import os
import platform
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import torch
import yaml

from sensors import InputError

VOLATILE_SETTINGS = ("run_dir", "overwrite", "trainer.energy")
"""Settings that may change between the start and the resumption of a run."""

_PACKAGES = ("terraguild", "torch", "timm", "lightning", "torchmetrics", "scikit-learn", "numpy")
_FILES = (
    "config.yaml",
    "spec.json",
    "weights.safetensors",
    "metrics.json",
    "training.json",
    "reconstruction.png",
    "decoder.safetensors",
    "before.json",
    "slimming.json",
    "slimming.png",
    "ensemble.json",
    "weights-*.safetensors",
    "gate_usage.png",
    "gate_usage.json",
)
_FOLDERS = ("checkpoints", "logs", "reconstructions", "manifests")


@dataclass(frozen=True)
class RunFolder:
    """One run's folder.

    Args:
        path: Where it is.
    """

    path: Path

    @classmethod
    def open(cls, path: Path, config: Mapping[str, Any], *, overwrite: bool = False) -> "RunFolder":
        """Start a run in a folder, or find the run of the same configuration that is already there.

        Args:
            path: The folder; made where it does not exist.
            config: The resolved configuration, plain data.
            overwrite: Remove an earlier run first.

        Raises:
            InputError: If the folder holds another run, or something that is no run.
        """
        run = cls(path)
        if path.exists() and not path.is_dir():
            raise InputError(f"run_dir {path} is a file; give a folder")
        holds_run = run._config_file.exists()
        if holds_run and overwrite:
            run._clear()
        elif holds_run:
            run._check_same(config)
            return run
        elif path.is_dir() and any(path.iterdir()):
            raise InputError(
                f"run_dir {path} is not empty and holds no training run; give another folder"
            )
        path.mkdir(parents=True, exist_ok=True)
        write_text(run._config_file, yaml.safe_dump(dict(config), sort_keys=False))
        return run

    @property
    def status(self) -> Literal["new", "interrupted", "finished"]:
        """How far the run has come."""
        if (self.path / "metrics.json").exists():
            return "finished"
        return "interrupted" if self.last_checkpoint.exists() else "new"

    @property
    def started(self) -> datetime:
        """When the run was first started."""
        return datetime.fromtimestamp(self._config_file.stat().st_mtime, UTC)

    @property
    def checkpoints(self) -> Path:
        """Folder of Lightning's checkpoints."""
        return self.path / "checkpoints"

    @property
    def last_checkpoint(self) -> Path:
        """State at the end of the last finished epoch."""
        return self.checkpoints / "last.ckpt"

    @property
    def best_checkpoint(self) -> Path:
        """State at the end of the epoch that was best on the selection split."""
        return self.checkpoints / "best.ckpt"

    @property
    def weights(self) -> Path:
        """The result."""
        return self.path / "weights.safetensors"

    def discard(self) -> None:
        """Remove a run that has not learned anything yet."""
        if self.status == "new":
            self._clear()
            if not any(self.path.iterdir()):
                self.path.rmdir()

    def read_json(self, name: str) -> Any:  # noqa: ANN401
        """Content of one of the JSON files."""
        return json.loads((self.path / name).read_text())

    def write_json(self, name: str, content: Mapping[str, Any]) -> None:
        """Write one of the JSON files, see `write_json`."""
        write_json(self.path / name, content)

    @property
    def _config_file(self) -> Path:
        return self.path / "config.yaml"

    def _check_same(self, config: Mapping[str, Any]) -> None:
        earlier = _flatten(yaml.safe_load(self._config_file.read_text()))
        now = _flatten(config)
        changed = [
            f"{key} (was {earlier.get(key)!r}, is {now.get(key)!r})"
            for key in sorted(earlier.keys() | now.keys())
            if key not in VOLATILE_SETTINGS and earlier.get(key) != now.get(key)
        ]
        if changed:
            raise InputError(
                f"run_dir {self.path} holds another run: {'; '.join(changed)}. "
                "Give another run_dir, or overwrite=true to begin anew"
            )

    def _clear(self) -> None:
        # The mark of a finished run goes first: what is left of a half-cleared folder is no result.
        for name in ("metrics.json", *_FILES[1:]):
            for file in self.path.glob(name):
                file.unlink()
        for name in _FOLDERS:
            shutil.rmtree(self.path / name, ignore_errors=True)
        self._config_file.unlink()


def keep_start(file: Path | str, run_dir: Path | str) -> None:
    """Refuse a run whose folder holds the weights that it is to start from.

    Args:
        file: The weights.
        run_dir: The folder of the run, which may be cleared.

    Raises:
        InputError: See above.
    """
    if Path(file).resolve().is_relative_to(Path(run_dir).resolve()):
        raise InputError(
            f"{file}, the start of this run, lies in run_dir, where the result goes; give another "
            "run_dir"
        )


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file at once and whole; numbers that are not finite become null."""
    write_text(path, json.dumps(_finite(content), indent=2, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text file at once and whole."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text)
    temporary.replace(path)


def describe_machine() -> dict[str, Any]:
    """Processor, accelerator and thread count, for the record."""
    record: dict[str, Any] = {
        "system": platform.platform(),
        "cpu": _cpu_model(),
        "threads": torch.get_num_threads(),
    }
    if torch.cuda.is_available():
        record["gpu"] = torch.cuda.get_device_name()
    return record


def package_versions() -> dict[str, str]:
    """Versions of the packages a result depends on."""
    return {"python": platform.python_version()} | {name: version(name) for name in _PACKAGES}


def _cpu_model() -> str:
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _finite(content: Any) -> Any:  # noqa: ANN401
    if isinstance(content, Mapping):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(value) for value in content]
    if isinstance(content, float) and not math.isfinite(content):
        return None
    return content
