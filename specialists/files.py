"""A specialist as one safetensors file: plain tensors and its spec, nothing that could run."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from sensors.errors import InputError
from specialists.header import decode_header, encode_header
from specialists.model import Specialist, build_specialist
from specialists.spec import SpecialistSpec


def save_weights(specialist: Specialist, path: Path | str) -> None:
    """Write a specialist's weights and spec; the same weights are the same bytes every time.

    The file appears complete or not at all.

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
    content = save(tensors, metadata=encode_header(specialist.spec))
    path.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        part = Path(folder) / path.name
        part.write_bytes(content)
        part.replace(path)


def read_spec(path: Path | str) -> SpecialistSpec:
    """The spec in a weight file's header, without reading the weights.

    Raises:
        InputError: If the file is missing, truncated, oversized or not a specialist's.
    """
    path = Path(path)
    with _open(path) as file:
        return decode_header(file.metadata(), path)


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
        with torch.device("meta"):
            specialist = build_specialist(decode_header(file.metadata(), path))
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    _check_tensors(tensors, specialist.state_dict(), path)
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


def _check_tensors(found: dict[str, Tensor], built: dict[str, Tensor], path: Path) -> None:
    if set(found) != set(built):
        raise InputError(
            f"{path}: the tensors are not those of its spec: missing "
            f"{_some(set(built) - set(found))}; unexpected {_some(set(found) - set(built))}"
        )
    for name, tensor in built.items():
        if found[name].shape != tensor.shape or found[name].dtype != tensor.dtype:
            raise InputError(
                f"{path}: {name} is {_describe(found[name])}, its spec asks for {_describe(tensor)}"
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
