"""A specialist as one safetensors file: plain tensors and, in one metadata key, its spec.

The file holds nothing that could run. Two saves of the same weights are the same bytes, which needs
a single metadata key: safetensors writes several in random order.
"""

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from sensors.errors import InputError
from specialists.model import Specialist, build_specialist
from specialists.spec import SpecialistSpec

FORMAT = 1
_METADATA_KEY = "specialist"


def save_weights(specialist: Specialist, path: Path | str) -> None:
    """Write a specialist's weights and spec; the file appears complete or not at all.

    Args:
        specialist: On any device.
        path: The `.safetensors` file to write or replace.

    Raises:
        InputError: If a weight is not finite.
    """
    path = Path(path)
    tensors = {
        name: tensor.detach().cpu().contiguous() for name, tensor in specialist.state_dict().items()
    }
    _check_finite(tensors, "the specialist")
    record = {"format": FORMAT, "spec": specialist.spec.to_dict()}
    text = json.dumps(record, sort_keys=True, separators=(",", ":"), allow_nan=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        part = Path(folder) / path.name
        part.write_bytes(save(tensors, metadata={_METADATA_KEY: text}))
        part.replace(path)


def read_spec(path: Path | str) -> SpecialistSpec:
    """The spec in a weight file's header, without reading the weights.

    Raises:
        InputError: If the file is missing, truncated, oversized or not a specialist's.
    """
    with _open(Path(path)) as file:
        return _spec_of(file, Path(path))


def load_specialist(path: Path | str) -> Specialist:
    """Rebuild a specialist from its file, in evaluation mode on the CPU.

    The weights are mapped into memory, not copied: processes that load one file share its pages.
    Changing them (training, for example) changes this process's own copy and never the file.

    Raises:
        InputError: If the file is missing, truncated, oversized or not a specialist's, if its
            tensors are not those of its spec (name, shape, type), or if a weight is not finite.
    """
    path = Path(path)
    with _open(path) as file:
        spec = _spec_of(file, path)
        with torch.device("meta"):
            specialist = build_specialist(spec)
        names = set(file.keys())
        _check_names(names, set(specialist.state_dict()), path)
        tensors = {name: file.get_tensor(name) for name in sorted(names)}
    for name, built in specialist.state_dict().items():
        if tensors[name].shape != built.shape or tensors[name].dtype != built.dtype:
            raise InputError(
                f"{path}: {name} is {_describe(tensors[name])}, "
                f"its spec asks for {_describe(built)}"
            )
    _check_finite(tensors, str(path))
    specialist.load_state_dict(tensors, assign=True)
    return specialist.eval()


def _open(path: Path) -> Any:  # noqa: ANN401 - safetensors gives its handle no type
    if not path.is_file():
        raise InputError(f"{path} is not a file; expected a specialist's .safetensors file")
    try:
        return safe_open(path, framework="pt", device="cpu")
    except SafetensorError as error:
        raise InputError(
            f"{path} is not a whole safetensors file ({error}); fetch or save it again"
        ) from error


def _spec_of(file: Any, path: Path) -> SpecialistSpec:  # noqa: ANN401
    metadata = file.metadata() or {}
    if set(metadata) != {_METADATA_KEY}:
        raise InputError(
            f"{path}: the header has the metadata keys {sorted(metadata)}, a specialist's file has "
            f"the one key {_METADATA_KEY!r}"
        )
    try:
        record = json.loads(metadata[_METADATA_KEY])
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: the header's {_METADATA_KEY!r} is not JSON: {error}") from error
    if not isinstance(record, dict) or set(record) != {"format", "spec"}:
        raise InputError(f"{path}: the header's {_METADATA_KEY!r} is not {{format, spec}}")
    if record["format"] != FORMAT:
        raise InputError(
            f"{path}: written in format {record['format']!r}, this version reads format {FORMAT}"
        )
    try:
        return SpecialistSpec.from_dict(record["spec"])
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _check_names(found: set[str], expected: set[str], path: Path) -> None:
    if found != expected:
        raise InputError(
            f"{path}: the tensors are not those of its spec: missing "
            f"{_some(expected - found)}; unexpected {_some(found - expected)}"
        )


def _check_finite(tensors: dict[str, Tensor], source: str) -> None:
    bad = {name for name, tensor in tensors.items() if not tensor.isfinite().all()}
    if bad:
        raise InputError(f"{source} has weights that are not finite: {_some(bad)}")


def _describe(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"


def _some(names: set[str], most: int = 5) -> str:
    """The first few names, and how many more."""
    shown = ", ".join(sorted(names)[:most]) or "none"
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
