"""Pretraining of a trunk: from images of any sensors to a run folder with its weights.

pretrain-trunk 'sources=[sentinel2_unlabelled,sen1floods11]' root=/data run_dir=runs/trunk
"""

from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.callbacks import Callback
from rich.table import Table

from router.pretraining.config import PretrainTrunkConfig
from router.pretraining.data import MixedData
from router.pretraining.distillation import Teacher
from router.pretraining.mixing import share_out
from router.pretraining.scores import (
    DrawEachEpoch,
    RecordStart,
    Scores,
    compare,
    measure_errors,
)
from router.pretraining.sources import load_sources, with_statistics
from router.pretraining.start import Start, find_start, save_decoder
from router.pretraining.task import PretrainTask
from router.trunk import build_trunk
from router.trunk_spec import TrunkSpec
from router.trunk_weights import save_trunk
from sensors import InputError
from specialists.job import Job, console, run_job
from specialists.run import RunFolder, keep_start


def pretrain_trunk(config: PretrainTrunkConfig, command: str = "") -> RunFolder:
    """Pretrain a trunk, score and write it; go on with a run that was interrupted.

    It learns from the training splits of its sources, its best epoch is chosen by their selection
    splits, and neither labels nor test splits are looked at.

    Args:
        config: What to learn from, from what start, how and where.
        command: The command line, for the record.

    Returns:
        The run folder; finished, unless this is not the first of several processes.

    Raises:
        InputError: If the configuration, the data, the start or the run folder cannot be used.
    """
    return run_job(config, command, partial(_prepare, config))


def _prepare(config: PretrainTrunkConfig, recorded: dict[str, Any] | None) -> Job[PretrainTask]:
    """The job; for a recorded spec, the run is interrupted and its checkpoint has the weights."""
    start = find_start(config.trunk) if recorded is None else Start(TrunkSpec.from_dict(recorded))
    if start.file is not None:
        keep_start(start.file, config.run_dir)
    _check_size(config.image_size, start.spec)
    teacher = _find_teacher(config)
    sources = load_sources(config.sources, config.selection_chips)
    spec = start.spec if recorded else with_statistics(start.spec, sources)
    data = MixedData(
        sources,
        size=config.image_size,
        turn=config.turn,
        batch_size=config.trainer.batch_size,
        steps=config.steps,
        seed=config.seed,
        workers=config.workers,
    )
    run = RunFolder(Path(config.run_dir))

    def build() -> PretrainTask:
        task = PretrainTask(start.build(spec), config.trainer, teacher)
        start.load_decoder(task.decoder)
        return task

    def record() -> dict[str, Any]:
        described = [
            source.describe() | {"share": share}
            for source, share in zip(sources, share_out(sources), strict=True)
        ]
        return {"data": {"sources": described}, "start": _read_start(run)["start"]}

    batches = data.selection_batches
    callbacks: list[Callback] = [DrawEachEpoch(run.path / "reconstructions", batches)]
    description = start.describe()
    if description is not None:
        _warn_of_unheard(description["sources"], config)
        scored = None if start.decoder_file is None else batches
        callbacks.append(RecordStart(run, description, scored, config.trainer.batch_size))
    return Job(
        spec=spec.to_dict(),
        build=build,
        data=data,
        monitor="val_mse",
        mode="min",
        save=lambda task, path: save_trunk(task.trunk, path),
        score=partial(_score, config, data),
        record=record,
        callbacks=callbacks,
    )


def _read_start(run: RunFolder) -> dict[str, Any]:
    """What the run went on from, and the scores before, as far as there are such things."""
    if not (run.path / "before.json").exists():
        return {"start": None, "scores": None}
    before: dict[str, Any] = run.read_json("before.json")
    return before


def _warn_of_unheard(earlier: list[str], config: PretrainTrunkConfig) -> None:
    names = {source.data.name for source in config.sources}
    absent = [name for name in earlier if name not in names]
    if absent:
        console.print(
            f"[yellow]{config.trunk} has learned from {', '.join(absent)}, too: what is not among "
            "the sources is neither rehearsed nor scored[/]",
            soft_wrap=True,
        )


def _check_size(image_size: int, spec: TrunkSpec) -> None:
    with torch.device("meta"):
        trunk = build_trunk(spec)
    try:
        grid = trunk.patch_embed.grid(image_size, image_size)
    except InputError as error:
        raise InputError(f"image_size {image_size}: {error}") from error
    if grid == (1, 1):
        raise InputError(
            f"image_size {image_size} is a single patch, which is hidden or seen; give "
            f"{2 * spec.patch_size} or more"
        )


def _find_teacher(config: PretrainTrunkConfig) -> Teacher | None:
    distillation = config.trainer.distillation
    if distillation.teacher is None:
        return None
    return Teacher(distillation.teacher, distillation.weights)


def _score(
    config: PretrainTrunkConfig,
    data: MixedData,
    run: RunFolder,
    task: PretrainTask,
    device: torch.device,
) -> None:
    """Score every source; the run is finished by this."""
    save_decoder(task.decoder, run)
    task.to(device).eval()
    scores = measure_errors(task, data.selection_batches, config.trainer.batch_size)
    errors = [source["mse"] for source in scores.values()]
    metrics: dict[str, Any] = {"mse": sum(errors) / len(errors), "selection": scores}
    before = _read_start(run)
    if before["scores"]:
        metrics["forgetting"] = compare(before["scores"], scores, before["start"]["sources"])
    run.write_json("metrics.json", metrics)
    _print_scores(scores, metrics.get("forgetting"), run)


def _print_scores(scores: Scores, forgetting: dict[str, Any] | None, run: RunFolder) -> None:
    table = Table(title="Error at hidden pixels")
    table.add_column("source")
    for heading in ("each patch's mean", *(["before"] if forgetting else []), "trunk"):
        table.add_column(heading, justify="right")
    for name, score in scores.items():
        before = [f"{forgetting['sources'][name]['before']:.4f}"] if forgetting else []
        table.add_row(name, f"{score['floor']:.4f}", *before, f"{score['mse']:.4f}")
    console.print(table)
    console.print(
        f"Trunk: {run.weights}. Look at {run.path / 'reconstructions'}. To go on from it: "
        f"pretrain-trunk trunk={run.path} ...",
        soft_wrap=True,
        highlight=False,
        markup=False,
    )
