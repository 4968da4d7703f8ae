"""`Ensemble.fit`: an ensemble in memory learns a task by the command's own run."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from registry import Registry
from registry.checksum import file_sha256
from router.composing.config import compose_ensemble_config
from router.composing.run import compose_ensemble
from router.ensemble import Ensemble
from router.ensemble_files import load_task_ensemble, write_weights
from router.manifest import FILE, WEIGHTS, read_manifest
from router.task_ensemble import TaskEnsemble
from sensors.errors import InputError


def fit_ensemble(
    ensemble: Ensemble, run_dir: Path, overrides: Sequence[str], registry: Registry | None
) -> TaskEnsemble:
    """Teach a copy of an ensemble a task; arguments and errors as for `Ensemble.fit`."""
    registry = registry or Registry.open()
    start = run_dir.with_name(f"{run_dir.name}_start")
    _keep(ensemble, start)
    settings = [f"start={start}", f"run_dir={run_dir}", f"registry={registry.store.root}"]
    run = compose_ensemble(compose_ensemble_config([*settings, *overrides]))
    return load_task_ensemble(run.path, registry)


def _keep(ensemble: Ensemble, folder: Path) -> None:
    """Save the ensemble as it is, unless that was done before.

    Raises:
        InputError: If the folder holds another ensemble.
    """
    if not (folder / FILE).exists():
        ensemble.save(folder)
        return
    with TemporaryDirectory() as temporary:
        weights = Path(temporary) / WEIGHTS
        write_weights(ensemble, weights)
        same = file_sha256(weights) == read_manifest(folder).weights_sha256
    if not same:
        raise InputError(
            f"{folder} holds another ensemble, from which an earlier run began; give another "
            "run_dir"
        )
