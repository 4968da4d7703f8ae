"""Teaching a trunk a task: from a configuration to a run folder with the adapted trunk.

adapt-trunk data=eurosat_rgb trunk=runs/trunk mode=linear data.root=/data run_dir=runs/eurosat
"""

from functools import partial
from typing import Any

import torch

from rasters import ChipDataset
from registry.checksum import file_sha256
from router.adaptation.config import AdaptConfig
from router.adaptation.task import AdaptTask
from router.adapted import AdaptedSpec, AdaptedTrunk, load_adapted, save_adapted
from router.band_statistics import add_statistics
from router.find import find_trunk, find_trunk_file, find_trunk_spec
from router.trunk_spec import TRUNKS
from sensors import InputError
from specialists.data import load_splits
from specialists.facts import count_labels, describe_data, describe_task
from specialists.job import Job, console, run_job
from specialists.loading import SpecialistData
from specialists.metrics import selection_metric
from specialists.run import RunFolder, keep_start
from specialists.scoring import score_run


def adapt_trunk(config: AdaptConfig, command: str = "") -> RunFolder:
    """Teach a trunk a task, score and write it; go on with a run that was interrupted.

    Args:
        config: What to teach, from what start, how and where.
        command: The command line, for the record.

    Returns:
        The run folder; finished, unless this is not the first of several processes.

    Raises:
        InputError: If the configuration, the data, the trunk or the run folder cannot be used.
    """
    return run_job(config, command, partial(_prepare, config))


def _prepare(config: AdaptConfig, recorded: dict[str, Any] | None) -> Job[AdaptTask]:
    """The job; for a recorded spec, the run is interrupted and its checkpoint has the weights."""
    start = _describe_start(config)
    splits = load_splits(config.data)
    train = splits.chips["train"]
    counts_K, weights_K = count_labels(
        config.data, config.trainer.class_weights, train, "pretrain-trunk"
    )
    spec = AdaptedSpec.from_dict(recorded) if recorded else _describe(config, train)

    def build() -> AdaptTask:
        network = AdaptedTrunk(spec)
        if recorded is None and config.trunk not in TRUNKS:
            network.trunk.load_state_dict(find_trunk(config.trunk).state_dict())
        return AdaptTask(network, config.trainer, config.mode, weights_K)

    metric, best = selection_metric(spec.task)
    return Job(
        spec=spec.to_dict(),
        build=build,
        data=SpecialistData(
            splits,
            batch_size=config.trainer.batch_size,
            seed=config.seed,
            workers=config.data.workers,
        ),
        monitor=f"val_{metric}",
        mode=best,
        save=lambda task, path: save_adapted(task.specialist, path),
        score=partial(_score, config, splits.chips),
        record=lambda: {
            "data": describe_data(config.data, splits, counts_K),
            "trunk": start,
        },
    )


def _describe(config: AdaptConfig, train: ChipDataset) -> AdaptedSpec:
    task = describe_task(config.data, config.head, train)
    trunk = add_statistics(find_trunk_spec(config.trunk), task.bands, task.mean, task.std)
    return AdaptedSpec(trunk=trunk, task=task, image_size=config.image_size)


def _describe_start(config: AdaptConfig) -> dict[str, str]:
    """What the record says of the start."""
    file = find_trunk_file(config.trunk)
    if file is None:
        return {"size": config.trunk}
    if not file.is_file():
        raise InputError(f"trunk {file} is not a file")
    keep_start(file, config.run_dir)
    return {"file": file.name, "sha256": file_sha256(file)}


def _score(
    config: AdaptConfig,
    chips: dict[str, ChipDataset],
    run: RunFolder,
    _: AdaptTask,
    device: torch.device,
) -> None:
    """Score the weights as they were written, and the floors; the run is finished by this."""
    network = load_adapted(run.weights)
    score_run(run, network, config, config.data, chips, device, name="adapted trunk")
    console.print(
        f"Adapted trunk: {run.weights}, for router.load_adapted", soft_wrap=True, markup=False
    )
