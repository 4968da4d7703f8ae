"""`register-specialist`: whatever a run has left behind goes into a registry, with its card."""

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from registry import ModelCard, Registry, SpecialistCard
from registry.checksum import file_sha256
from registry.cli import add_registry_option
from registry.describe import read_record
from registry.licenses import UNSTATED, check_license
from registry.names import Reference
from registry.tables import card_table
from registry.weights import read_metadata
from router.find import PUBLISHED_SUFFIXES
from router.manifest import FILE, read_manifest
from router.model_cards import describe_ensemble, describe_trunk
from router.prototypes import compute_run_prototype
from router.published_weights import load_published
from router.trunk import Trunk
from router.trunk_weights import METADATA_KEY, load_trunk, save_trunk
from sensors.errors import InputError, exit_on_input_error
from specialists.header import METADATA_KEY as SPECIALIST_KEY
from specialists.run import RunFolder

console = Console(markup=False, highlight=False)


@exit_on_input_error
def main() -> None:
    """Entry point of `register-specialist`."""
    options = _parse()
    registry = Registry.open(options.registry)
    card = register_run(
        registry,
        options.run,
        name=options.name,
        version=options.version,
        license=options.license,
        description=options.description,
        trunk=options.trunk,
        chips=options.chips,
    )
    console.print(card_table(card))
    console.print(f"{card.reference} is registered in {registry.store.root}", soft_wrap=True)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="register-specialist",
        description="Put a specialist, a trunk or an ensemble into a registry, with its card.",
    )
    parser.add_argument(
        "run",
        type=Path,
        help="folder of a finished train-specialist, pretrain-backbone or pretrain-trunk run, "
        "folder of an ensemble, or a trunk's file (.safetensors, or published .pth)",
    )
    parser.add_argument("--name", required=True, help="such as s2-landcover")
    parser.add_argument("--version", required=True, help="MAJOR.MINOR.PATCH, such as 1.0.0")
    parser.add_argument(
        "--license",
        default=UNSTATED,
        metavar="SPDX",
        help="licence of the weights, such as Apache-2.0; default: %(default)s (none is stated)",
    )
    parser.add_argument("--description", default="", help="what it is good for, in a sentence")
    parser.add_argument(
        "--trunk",
        metavar="NAME",
        help="a registered trunk: where the specialist's training data lie in its space goes into "
        "the card, for gates that look through this trunk",
    )
    parser.add_argument(
        "--chips",
        type=int,
        default=512,
        metavar="N",
        help="training chips that --trunk looks at, at most; default: %(default)s",
    )
    add_registry_option(parser)
    return parser.parse_args()


def register_run(
    registry: Registry,
    source: Path | str,
    *,
    name: str,
    version: str,
    license: str = UNSTATED,
    description: str = "",
    trunk: str | None = None,
    chips: int = 512,
) -> SpecialistCard | ModelCard:
    """Register what a run has left behind, wholly or not at all; what it is follows from its files.

    Args:
        registry: Where to.
        source: The folder of a finished run of `train-specialist`, `pretrain-backbone` or
            `pretrain-trunk`, that of an ensemble, or the file of a trunk.
        name: What to register it as.
        version: MAJOR.MINOR.PATCH.
        license: SPDX identifier of the licence of the weights, or `other`.
        description: What it is good for, in a sentence.
        trunk: A registered trunk in whose space a specialist gets a prototype, from the data that
            its run was trained on.
        chips: Training chips that are looked at for it, at most.

    Returns:
        Its card.

    Raises:
        InputError: If it is none of these, the version is there already, the data for a prototype
            are gone, or what an ensemble pins is not in this registry.
    """
    path = Path(source)
    registry.store.check_free(Reference(name, version))
    facts: dict[str, Any] = {
        "name": name,
        "version": version,
        "license": check_license(license),
        "description": description,
    }
    kind = _kind_of(path)
    if trunk is not None and kind != "specialist":
        raise InputError(f"{path} is no specialist, and only these have prototypes: no --trunk")
    if kind == "ensemble":
        return register_ensemble(registry, path, **facts)
    if kind == "trunk":
        return register_trunk(registry, path, **facts)
    prototypes = (
        [] if trunk is None else [compute_run_prototype(path, trunk, registry, limit=chips)]
    )
    return registry.add(path, prototypes=prototypes, **facts)


def register_trunk(
    registry: Registry,
    trunk: Trunk | Path | str,
    *,
    name: str,
    version: str,
    license: str = UNSTATED,
    description: str = "",
    parents: Sequence[str] = (),
    training: Mapping[str, Any] | None = None,
    metrics: Mapping[str, Any] | None = None,
) -> ModelCard:
    """Register a trunk, wholly or not at all.

    Args:
        registry: Where to.
        trunk: In memory; or a finished run folder of `pretrain-trunk`, a trunk's `.safetensors`
            file, or a `.pth` file of DOFA's published weights.
        name: What to register it as.
        version: MAJOR.MINOR.PATCH.
        license: SPDX identifier of the licence of the weights, or `other`.
        description: What it is good for, in a sentence.
        parents: Models it was made from; by default the trunk that a run went on from.
        training: Instead of what a run recorded.
        metrics: Instead of what a run recorded.

    Raises:
        InputError: If there is no trunk, its run is not finished, or the version is there already.
    """
    registry.store.check_free(Reference(name, version))
    with tempfile.TemporaryDirectory() as folder:
        network, weights, found = _open_trunk(trunk, Path(folder))
        card = describe_trunk(
            network,
            weights,
            name=name,
            version=version,
            license=license,
            description=description,
            parents=tuple(parents) or found["parents"],
            training=found["training"] if training is None else training,
            metrics=found["metrics"] if metrics is None else metrics,
        )
        return registry.add_model(card, weights)


def register_ensemble(
    registry: Registry,
    folder: Path | str,
    *,
    name: str,
    version: str,
    license: str = UNSTATED,
    description: str = "",
) -> ModelCard:
    """Register an ensemble as its folder says it is, wholly or not at all.

    Args:
        registry: Where to; its members and its trunk are there.
        folder: With `ensemble.json`; what is in `training.json` and `metrics.json` beside it goes
            into the card.
        name: What to register it as.
        version: MAJOR.MINOR.PATCH.
        license: SPDX identifier of the licence of the weights, or `other`.
        description: What it is good for, in a sentence.

    Raises:
        InputError: If there is no ensemble or its weights were changed, what it pins is not in the
            registry, or the version is there already.
    """
    folder = Path(folder)
    registry.store.check_free(Reference(name, version))
    manifest = read_manifest(folder)
    weights = folder / manifest.weights_file
    card = describe_ensemble(
        manifest,
        weights,
        registry,
        name=name,
        version=version,
        license=license,
        description=description,
        **_read_records(folder),
    )
    return registry.add_model(card, weights)


def _open_trunk(trunk: Trunk | Path | str, folder: Path) -> tuple[Trunk, Path, dict[str, Any]]:
    """A trunk, a file with its weights, perhaps in `folder`, and what is recorded of it."""
    records: dict[str, Any] = {"training": {}, "metrics": {}, "parents": ()}
    weights = folder / "weights.safetensors"
    if isinstance(trunk, Trunk):
        save_trunk(trunk, weights)
        return trunk, weights, records
    path = Path(trunk)
    if path.is_dir():
        run = RunFolder(path)
        if run.status != "finished" or not run.weights.is_file():
            raise InputError(
                f"{path} is not the folder of a finished pretraining: it needs metrics.json and "
                "weights.safetensors; run pretrain-trunk with the same run_dir to finish it"
            )
        records |= _read_records(path)
        start = records["training"].get("start")
        parents = (f"sha256:{start['sha256']}",) if start else ()
        return load_trunk(run.weights), run.weights, records | {"parents": parents}
    if path.suffix in PUBLISHED_SUFFIXES:
        network = load_published(path)
        save_trunk(network, weights)
        return network, weights, records | {"parents": (f"sha256:{file_sha256(path)}",)}
    return load_trunk(path), path, records


def _kind_of(path: Path) -> str:
    """What kind of model a path holds, by its files alone."""
    if path.suffix in PUBLISHED_SUFFIXES:
        return "trunk"
    if (path / FILE).is_file():
        return "ensemble"
    weights = path if path.suffix == ".safetensors" else RunFolder(path).weights
    if not weights.is_file():
        raise InputError(
            f"{path} holds nothing to register: expected the folder of a finished run, with "
            f"weights.safetensors, that of an ensemble, with {FILE}, or a trunk's file"
        )
    keys = set(read_metadata(weights))
    if keys == {METADATA_KEY}:
        return "trunk"
    if keys == {SPECIALIST_KEY} and path.is_dir():
        return "specialist"
    if keys == {SPECIALIST_KEY}:
        raise InputError(
            f"{path} is a specialist without the record of its training; register its run folder"
        )
    raise InputError(
        f"{weights} is neither a specialist nor a trunk: its metadata keys are {sorted(keys)}"
    )


def _read_records(folder: Path) -> dict[str, Any]:
    """What a run has recorded in `training.json` and `metrics.json`, where they are."""
    files = {name: folder / f"{name}.json" for name in ("training", "metrics")}
    return {name: read_record(file) if file.exists() else {} for name, file in files.items()}
