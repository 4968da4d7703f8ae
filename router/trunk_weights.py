"""A trunk as one safetensors file: plain tensors and its spec, nothing that could run."""

import json
from pathlib import Path

import torch

from router.trunk import Trunk, build_trunk
from router.trunk_spec import TrunkSpec
from sensors.errors import InputError
from specialists.tensor_files import check_finite, check_tensors, open_tensors, write_tensors

FORMAT = 1
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
    record = {"format": FORMAT, "spec": trunk.spec.to_dict()}
    header = json.dumps(record, sort_keys=True, separators=(",", ":"), allow_nan=False)
    write_tensors(trunk, path, {METADATA_KEY: header})


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
    path = Path(path)
    with open_tensors(path) as file:
        spec = _decode_header(file.metadata(), path)
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    with torch.device("meta"):
        trunk = build_trunk(spec)
    check_tensors(tensors, trunk.state_dict(), f"{path} does not fit its spec")
    check_finite(tensors, str(path))
    trunk.load_state_dict(tensors, assign=True)
    return trunk.eval()


def _decode_header(metadata: dict[str, str] | None, path: Path) -> TrunkSpec:
    metadata = metadata or {}
    if set(metadata) != {METADATA_KEY}:
        raise InputError(
            f"{path}: the header has the metadata keys {sorted(metadata)}, a trunk's file has the "
            f"one key {METADATA_KEY!r}; published weights are read by load_published"
        )
    try:
        record = json.loads(metadata[METADATA_KEY])
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: the header's {METADATA_KEY!r} is not JSON: {error}") from error
    if not isinstance(record, dict) or set(record) != {"format", "spec"}:
        raise InputError(f"{path}: the header's {METADATA_KEY!r} does not hold a format and a spec")
    if record["format"] != FORMAT:
        raise InputError(
            f"{path}: written in format {record['format']!r}, this version reads format {FORMAT}"
        )
    try:
        return TrunkSpec.from_dict(record["spec"])
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
