"""A trunk as one safetensors file: plain tensors and its spec, nothing that could run."""

from collections.abc import Mapping
from pathlib import Path

from router.trunk import Trunk, build_trunk
from router.trunk_spec import TrunkSpec
from specialists.header import decode_record, encode_record
from specialists.tensor_files import load_module, open_tensors, write_tensors

METADATA_KEY = "trunk"


def save_trunk(trunk: Trunk, path: Path | str) -> None:
    """Write a trunk's weights and spec; the same weights are the same bytes every time.

    The file appears complete or not at all.

    Args:
        trunk: On any device.
        path: The `.safetensors` file to write or replace.

    Raises:
        InputError: If a weight is not finite.
    """
    write_tensors(trunk, path, encode_record(METADATA_KEY, trunk.spec.to_dict()))


def read_trunk_spec(path: Path | str) -> TrunkSpec:
    """The spec in a trunk's file, without reading the weights.

    Raises:
        InputError: If the file is missing, truncated or not a trunk's.
    """
    path = Path(path)
    with open_tensors(path) as file:
        return _decode_header(file.metadata(), path)


def load_trunk(path: Path | str) -> Trunk:
    """Rebuild a trunk from its file, in evaluation mode on the CPU.

    Raises:
        InputError: If the file is missing, truncated or not a trunk's, if its tensors are not those
            of its spec, or if a weight is not finite.
    """
    return load_module(path, _decode_header, build_trunk)


def _decode_header(metadata: Mapping[str, str] | None, path: Path) -> TrunkSpec:
    advice = "; published weights are read by load_published"
    return decode_record(metadata, METADATA_KEY, TrunkSpec.from_dict, path, advice)
