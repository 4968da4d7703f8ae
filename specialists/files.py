"""A specialist as one safetensors file: plain tensors and its spec, nothing that could run."""

from pathlib import Path

from specialists.header import decode_header, encode_header
from specialists.model import Specialist, build_specialist
from specialists.spec import SpecialistSpec
from specialists.tensor_files import load_module, open_tensors, write_tensors


def save_weights(specialist: Specialist, path: Path | str) -> None:
    """Write a specialist's weights and spec; the same weights are the same bytes every time.

    The file appears complete or not at all.

    Args:
        specialist: On any device.
        path: The `.safetensors` file to write or replace.

    Raises:
        InputError: If a weight is not finite.
    """
    write_tensors(specialist, path, encode_header(specialist.spec))


def read_spec(path: Path | str) -> SpecialistSpec:
    """The spec in a weight file's header, without reading the weights.

    Raises:
        InputError: If the file is missing, truncated, oversized or not a specialist's.
    """
    path = Path(path)
    with open_tensors(path) as file:
        return decode_header(file.metadata(), path)


def load_specialist(path: Path | str) -> Specialist:
    """Rebuild a specialist from its file, in evaluation mode on the CPU.

    The weights are mapped into memory, not copied: processes that load one file share its pages.
    Changing them (training, for example) changes this process's own copy and never the file.

    Raises:
        InputError: If the file is missing, truncated, oversized or not a specialist's, if its
            tensors are not those of its spec (name, shape, type), or if a weight is not finite.
    """
    return load_module(path, decode_header, build_specialist, wish=", its spec asks for")
