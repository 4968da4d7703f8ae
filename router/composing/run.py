"""Teaching an ensemble a task: from a configuration to a run folder that is the ensemble's, too.

compose-ensemble data=eurosat_ms 'members=[s2-landcover,rgb-scenes]' trunk=dofa-nano
"""

import re
import shlex
import shutil
import warnings
from functools import partial
from typing import Any

import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from rasters import ChipDataset
from registry.registry import Registry
from router.composing.config import ComposeConfig
from router.composing.parts import add_head, check_bands, describe_parts, open_parts, rebuild
from router.composing.task import ComposeTask
from router.composing.usage import measure_usage, print_usage
from router.composing.usage_picture import draw_usage
from router.ensemble_files import load_task_ensemble, save_ensemble
from router.manifest import FILE
from specialists.data import load_splits
from specialists.facts import count_labels, describe_data, describe_task
from specialists.job import Job, console, run_job
from specialists.loading import SpecialistData
from specialists.metrics import selection_metric
from specialists.run import RunFolder
from specialists.scoring import score_run
from specialists.task_spec import TaskSpec

USAGE = "gate_usage"
_MANIFESTS = "manifests"


def compose_ensemble(config: ComposeConfig, command: str = "") -> RunFolder:
    """Teach an ensemble a task, score and write it; go on with a run that was interrupted.

    The run folder is a folder of an ensemble, see `router.manifest`: `Ensemble.load` opens it.

    Args:
        config: What to compose, what to teach it, how and where.
        command: The command line, for the record.

    Returns:
        The run folder; finished, unless this is not the first of several processes.

    Raises:
        InputError: If the configuration, the data, a member, the trunk or the run folder cannot be
            used.
    """
    config.check()
    # Members and trunk are in evaluation mode on purpose.
    warnings.filterwarnings("ignore", ".*in eval mode at the start of training")
    return run_job(config, command, partial(_prepare, config))


def _prepare(config: ComposeConfig, recorded: dict[str, Any] | None) -> Job[ComposeTask]:
    """The job; for a recorded spec, the run is interrupted and its checkpoint has the weights."""
    registry = Registry.open(config.registry)
    if recorded is None:
        ensemble, start = open_parts(config, registry)
        parts = describe_parts(config, ensemble, registry)
    else:
        ensemble, start = rebuild(recorded["ensemble"], registry), None
        parts = recorded["ensemble"]
    splits = load_splits(config.data)
    train = splits.chips["train"]
    for line in check_bands(ensemble, train.bands, config.trainer.sensor_dropout):
        console.print(line, style="yellow", soft_wrap=True, highlight=False, markup=False)
    counts_K, weights_K = count_labels(
        config.data, config.trainer.class_weights, train, "pretrain-trunk"
    )
    if recorded is None:
        task = describe_task(config.data, config.head, train)
    else:
        task = TaskSpec.from_dict(recorded["task"])
    metric, best = selection_metric(task)
    return Job(
        spec={"ensemble": parts, "task": task.to_dict()},
        build=lambda: ComposeTask(add_head(ensemble, task, start), config.trainer, weights_K),
        data=SpecialistData(
            splits,
            batch_size=config.trainer.batch_size,
            seed=config.seed,
            workers=config.data.workers,
        ),
        monitor=f"val_{metric}",
        mode=best,
        save=lambda module, path: _save(config, parts, RunFolder(path.parent), module),
        score=partial(_score, config, registry, splits.chips),
        record=lambda: {"data": describe_data(config.data, splits, counts_K), "ensemble": parts},
    )


def _save(
    config: ComposeConfig, parts: dict[str, Any], run: RunFolder, module: ComposeTask
) -> None:
    """Write the first manifest and its weights, in place of those that a killed run has left."""
    (run.path / FILE).unlink(missing_ok=True)
    shutil.rmtree(run.path / _MANIFESTS, ignore_errors=True)
    metric, _ = selection_metric(module.specialist.spec)
    score = _best_score(module, f"val_{metric}")
    reasons = [
        f"gate, fusion and head learned {config.data.name}: {metric} {score:.4f} on the selection "
        "split"
    ]
    if parts["start"] is not None:
        start = parts["start"]
        reasons.append(f"went on from manifest {start['manifest']} of {start['name']}")
    action = "fit" if parts["start"] is None else "refine"
    save_ensemble(module.specialist, run.path, action, reasons)


def _best_score(module: ComposeTask, monitor: str) -> float:
    """The score that selected the weights."""
    for checkpoint in module.trainer.checkpoint_callbacks:
        if isinstance(checkpoint, ModelCheckpoint) and checkpoint.monitor == monitor:
            score = checkpoint.best_model_score
    return float("nan") if score is None else float(score)


def _score(
    config: ComposeConfig,
    registry: Registry,
    chips: dict[str, ChipDataset],
    run: RunFolder,
    _: ComposeTask,
    device: torch.device,
) -> None:
    """Score what was written, and the floors; the run is finished by this."""
    network = load_task_ensemble(run.path, registry)
    split = "test" if "test" in chips else "selection"
    usage = measure_usage(
        network.ensemble.to(device),
        chips[split],
        gsd=network.spec.gsd,
        batch_size=config.trainer.batch_size,
        title=f"Gate ({split})",
    )
    run.write_json(f"{USAGE}.json", {"split": split} | usage.to_dict())
    title = f"{config.data.name}, {split}: {usage.images:,} images"
    draw_usage(usage, run.path / f"{USAGE}.png", title)
    score_run(run, network, config, config.data, chips, device, name="ensemble")
    print_usage(console, usage, f"Who is asked ({split})")
    name = re.sub(r"[^a-z0-9]+", "-", config.name.lower()).strip("-")
    folder = shlex.quote(str(run.path))
    console.print(f"Ensemble and run folder: {run.path} ({USAGE}.png: who is asked). Next:")
    for line in (
        f"register-specialist {folder} --name {name} --version 1.0.0",
        f"compose-ensemble explain {folder} IMAGE.tif",
    ):
        console.print(line, soft_wrap=True, highlight=False, markup=False)
