"""A trunk by what a person writes: a registered name, the name of a size, a file, or a run."""

from pathlib import Path

from registry import Reference, Registry
from router.manifest import Pin
from router.published_weights import load_published
from router.trunk import Trunk, build_trunk
from router.trunk_spec import TRUNKS, TrunkSpec
from router.trunk_weights import load_trunk, read_trunk_spec
from sensors.errors import InputError
from specialists.run import RunFolder

PUBLISHED_SUFFIXES = (".pth", ".pt")
"""Of files of DOFA's published weights."""


def find_trunk(source: str, registry: Registry | None = None) -> Trunk:
    """A trunk with its weights, in evaluation mode on the CPU.

    Args:
        source: The name, `name` or `name@version`, of a trunk in `registry`; the path of a trunk's
            file, of its run folder, or of a `.pth` file of DOFA's published weights; or a name from
            `TRUNKS` for random weights, drawn from torch's generator. A registered name comes
            first.
        registry: Where registered trunks are looked up; without it, none is.

    Raises:
        InputError: If there is no such trunk, file or size, or the file holds no trunk.
    """
    path = find_trunk_file(source, registry)
    if path is None:
        return build_trunk(source).eval()
    return load_published(path) if path.suffix in PUBLISHED_SUFFIXES else load_trunk(path)


def find_trunk_spec(source: str, registry: Registry | None = None) -> TrunkSpec:
    """The spec of what `find_trunk` gives; arguments and errors as there."""
    path = find_trunk_file(source, registry)
    if path is None:
        return TRUNKS[source]
    if path.suffix in PUBLISHED_SUFFIXES:
        return load_published(path).spec
    return read_trunk_spec(path)


def find_trunk_pin(source: str, registry: Registry) -> tuple[Trunk, Pin]:
    """A registered trunk, in evaluation mode on the CPU, and exactly which one it is.

    Args:
        source: `name` or `name@version`.
        registry: Where it is.

    Raises:
        InputError: If it is not registered, or its file was changed or damaged.
    """
    reference = _find_registered(source, registry)
    if reference is None:
        raise InputError(
            f"{source!r} is not a trunk of the registry {registry.store.root}, which alone can be "
            "pinned; register the run folder or file of one: "
            "register-specialist RUN --name NAME --version 1.0.0"
        )
    card = registry.card(reference)
    trunk = load_trunk(registry.weights(reference, kind="trunk"))
    return trunk, Pin(card.name, card.version, card.sha256)


def find_trunk_file(source: str, registry: Registry | None = None) -> Path | None:
    """The file of a trunk's weights, which need not exist; None for the name of a size.

    Args:
        source: As for `find_trunk`.
        registry: As for `find_trunk`.

    Raises:
        InputError: If `source` is neither a name, nor that of a weight file, nor a finished run.
    """
    if registry is not None and (reference := _find_registered(source, registry)) is not None:
        return registry.weights(reference, kind="trunk")
    if source in TRUNKS:
        return None
    path = Path(source)
    if path.suffix in (".safetensors", *PUBLISHED_SUFFIXES):
        return path
    if RunFolder(path).weights.is_file():
        return RunFolder(path).weights
    raise InputError(
        f"no trunk at {source!r}: expected a .safetensors file, a finished run folder, a .pth "
        f"file of published weights, or the name of a size ({', '.join(TRUNKS)})"
        + ("" if registry is None else f"; nor is it in the registry {registry.store.root}")
    )


def _find_registered(source: str, registry: Registry) -> Reference | None:
    """The version that is meant; None where nothing of the name is registered.

    Raises:
        InputError: If the name is registered, and not in this version.
    """
    try:
        wanted = Reference.parse(source)
    except InputError:
        return None  # a path, which a name never is
    known = registry.store.references(wanted.name)
    return registry.store.resolve(wanted) if known or wanted.version else None
