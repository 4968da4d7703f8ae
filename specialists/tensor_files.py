"""Named tensors in safetensors files: written whole or not at all, checked before they are used."""

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from sensors.errors import InputError


def write_tensors(module: nn.Module, path: Path | str, metadata: dict[str, str]) -> None:
    """Write a module's state dict; the same weights are the same bytes every time.

    Args:
        module: On any device.
        path: The `.safetensors` file to write or replace.
        metadata: One entry; safetensors writes several in random order.

    Raises:
        InputError: If a weight is not finite.
    """
    path = Path(path)
    tensors = {
        name: tensor.detach().cpu().contiguous() for name, tensor in module.state_dict().items()
    }
    check_finite(tensors, "what is to be saved")
    content = save(tensors, metadata=metadata)
    path.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        part = Path(folder) / path.name
        part.write_bytes(content)
        part.replace(path)


def open_tensors(path: Path) -> Any:  # noqa: ANN401 - safetensors gives its handle no type
    """A context that reads a safetensors file's metadata and tensors.

    Raises:
        InputError: If there is no such file, or it is truncated or not safetensors.
    """
    if not path.is_file():
        raise InputError(f"{path} is not a file; expected a .safetensors file")
    try:
        return safe_open(path, framework="pt", device="cpu")
    except SafetensorError as error:
        raise InputError(
            f"{path} is not a whole safetensors file ({error}); fetch or save it again"
        ) from error


def check_tensors(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], source: str) -> None:
    """Refuse tensors that are not those wanted, by name, shape and type.

    Args:
        found: What a file holds.
        wanted: What a network has.
        source: The file and what it should hold, for messages.

    Raises:
        InputError: Says what differs.
    """
    missing, unexpected = set(wanted) - set(found), set(found) - set(wanted)
    if missing or unexpected:
        raise InputError(
            f"{source}: missing {name_some(missing)}; unexpected {name_some(unexpected)}"
        )
    differing = {
        f"{name} is {_describe(tensor)} and should be {_describe(wanted[name])}"
        for name, tensor in found.items()
        if tensor.shape != wanted[name].shape or tensor.dtype != wanted[name].dtype
    }
    if differing:
        raise InputError(f"{source}: {name_some(differing)}")


def check_finite(tensors: Mapping[str, Tensor], source: str) -> None:
    """Refuse weights that are not finite.

    Raises:
        InputError: Names them.
    """
    bad = {name for name, tensor in tensors.items() if not tensor.isfinite().all()}
    if bad:
        raise InputError(f"{source} has weights that are not finite: {name_some(bad)}")


def name_some(names: set[str], most: int = 5) -> str:
    """The first few names, and how many more."""
    shown = ", ".join(sorted(names)[:most]) or "none"
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def _describe(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"
