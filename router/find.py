"""A trunk by what a person writes: the name of a size, a file, or a run folder."""

from pathlib import Path

from router.published_weights import load_published
from router.trunk import Trunk, build_trunk
from router.trunk_spec import TRUNKS, TrunkSpec
from router.trunk_weights import load_trunk, read_trunk_spec
from sensors.errors import InputError
from specialists.run import RunFolder

_PUBLISHED_SUFFIXES = (".pth", ".pt")


def find_trunk(source: str) -> Trunk:
    """A trunk with its weights, in evaluation mode on the CPU.

    Args:
        source: The path of a trunk's file, of its run folder, or of a `.pth` file of DOFA's
            published weights; or a name from `TRUNKS` for random weights, drawn from torch's
            generator.

    Raises:
        InputError: If there is no such file or size, or the file holds no trunk.
    """
    path = find_trunk_file(source)
    if path is None:
        return build_trunk(source).eval()
    return load_published(path) if path.suffix in _PUBLISHED_SUFFIXES else load_trunk(path)


def find_trunk_spec(source: str) -> TrunkSpec:
    """The spec of what `find_trunk` gives; arguments and errors as there."""
    path = find_trunk_file(source)
    if path is None:
        return TRUNKS[source]
    if path.suffix in _PUBLISHED_SUFFIXES:
        return load_published(path).spec
    return read_trunk_spec(path)


def find_trunk_file(source: str) -> Path | None:
    """The file of a trunk's weights, which need not exist; None for the name of a size.

    Raises:
        InputError: If `source` is neither a name, nor that of a weight file, nor a finished run.
    """
    if source in TRUNKS:
        return None
    path = Path(source)
    if path.suffix in (".safetensors", *_PUBLISHED_SUFFIXES):
        return path
    if RunFolder(path).weights.is_file():
        return RunFolder(path).weights
    raise InputError(
        f"no trunk at {source!r}: expected a .safetensors file, a finished run folder, a .pth "
        f"file of published weights, or the name of a size ({', '.join(TRUNKS)})"
    )
