"""Named tensors in safetensors files: written whole or not at all, checked before they are used."""

from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from sensors.errors import InputError

Spec = TypeVar("Spec")
Module = TypeVar("Module", bound=nn.Module)


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


def load_module(
    path: Path | str,
    decode: Callable[[Mapping[str, str] | None, Path], Spec],
    build: Callable[[Spec], Module],
    wish: str = " and should be",
) -> Module:
    """Rebuild a network from its file, in evaluation mode on the CPU.

    The weights are mapped into memory, not copied: processes that load one file share its pages.
    Changing them (training, for example) changes this process's own copy and never the file.

    Args:
        path: Its file.
        decode: From the file's metadata and path to the spec.
        build: From the spec to the network; called for the meta device.
        wish: As for `check_tensors`.

    Raises:
        InputError: If the file is missing, truncated or refused by `decode` or `build`, if its
            tensors are not those of its spec (name, shape, type), or if a weight is not finite.
    """
    path = Path(path)
    with open_tensors(path) as file:
        with torch.device("meta"):
            module = build(decode(file.metadata(), path))
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    source = f"{path}: the tensors are not those of its spec"
    check_tensors(tensors, module.state_dict(), source, wish)
    check_finite(tensors, str(path))
    module.load_state_dict(tensors, assign=True)
    return module.eval()


def check_tensors(
    found: Mapping[str, Tensor],
    wanted: Mapping[str, Tensor],
    source: str,
    wish: str = " and should be",
) -> None:
    """Refuse tensors that are not those wanted, by name, shape and type.

    Args:
        found: What a file holds.
        wanted: What a network has.
        source: The file and what it should hold, for messages.
        wish: What stands there between a tensor that differs and the one wanted.

    Raises:
        InputError: Says what differs.
    """
    missing, unexpected = set(wanted) - set(found), set(found) - set(wanted)
    if missing or unexpected:
        raise InputError(
            f"{source}: missing {name_some(missing)}; unexpected {name_some(unexpected)}"
        )
    differing = {
        f"{name} is {_describe(tensor)}{wish} {_describe(wanted[name])}"
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
