"""`slim-specialist`: slim a registered specialist, let it recover, measure it, and register it.

slim-specialist s2-landcover data=eurosat_ms ratio=0.5 run_dir=runs/slim
"""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor

from evaluation._workload import choose_images
from evaluation.before_after import draw_pareto, tabulate
from evaluation.own_data import check_bands, check_task
from evaluation.slimming_rows import FILE, measure_rows, read_rows
from rasters import ChipDataset
from registry import Registry, SpecialistCard
from registry.checksum import file_sha256
from registry.names import Reference
from sensors.errors import InputError
from specialists.config import to_plain
from specialists.data import Splits, load_splits
from specialists.facts import count_labels, describe_data
from specialists.files import load_specialist, save_weights
from specialists.job import Job, console, run_job
from specialists.loading import SpecialistData
from specialists.metrics import selection_metric
from specialists.model import Specialist
from specialists.module import SpecialistModule
from specialists.run import RunFolder, describe_machine, package_versions
from specialists.scoring import score_run
from specialists.slimming import slim
from specialists.slimming_config import SlimConfig
from specialists.slimming_task import DistilTask, answer_error
from specialists.spec import SpecialistSpec
from specialists.task import SpecialistTask

PICTURE = "slimming.png"


def slim_registered(config: SlimConfig, command: str = "") -> SpecialistCard:
    """Slim a registered specialist and register the result; go on where a run was interrupted.

    The source is left as it is, and so is the registry until the whole run is finished.

    Args:
        config: What to slim, how, on what, and where.
        command: The command line, for the record.

    Returns:
        The card of the result.

    Raises:
        InputError: If the source, the data or the run folder cannot be used, or the name and
            version of the result are taken.
    """
    registry = Registry.open(config.registry)
    config = complete(config, registry)
    reference, run = Reference(config.name, config.version), RunFolder(Path(config.run_dir))
    if reference in registry.store.references(reference.name) and not config.overwrite:
        card = registry.card(reference)
        if run.status == "finished" and card.sha256 == file_sha256(run.weights):
            assert isinstance(card, SpecialistCard)
            RunFolder.open(run.path, to_plain(config))  # refuses the run of another configuration
            text = f"{run.path} is finished, and registered as {reference}"
            console.print(text, soft_wrap=True, highlight=False)
            console.print(tabulate(str(reference), read_rows(run)))
            return card
    registry.store.check_free(reference)
    run = slim_run(config, registry, command)
    source = registry.specialist(config.source)
    if getattr(rank_zero_only, "rank", 0) != 0:
        return source
    card = registry.add(
        run.path,
        name=config.name,
        version=config.version,
        license=config.license or source.license,
        description=f"{source.description} ({source.reference} slimmed by {config.ratio:g})",
        parents=[str(source.reference)],
        prototypes=source.prototypes,
    )
    console.print(tabulate(f"{reference}, {config.data.name}", read_rows(run)))
    console.print(f"{reference} is registered in {registry.store.root}", soft_wrap=True)
    return card


def complete(config: SlimConfig, registry: Registry) -> SlimConfig:
    """The configuration with the exact version of the source, a name and a folder.

    Raises:
        InputError: If there is no such specialist, or a value is not what it may be.
    """
    config.check()
    source = registry.specialist(config.source)
    name = config.name or f"{source.name}-slim{100 * config.ratio:.0f}"
    run_dir = config.run_dir or f"runs/{name}"
    return replace(config, source=str(source.reference), name=name, run_dir=run_dir)


def slim_run(config: SlimConfig, registry: Registry, command: str = "") -> RunFolder:
    """Slim, recover and measure; the registry is only read.

    The run folder is one that `register-specialist` takes, with `slimming.json` beside.

    Args:
        config: Completed.
        registry: Where the source is.
        command: The command line, for the record.

    Raises:
        InputError: If the source, the data or the run folder cannot be used.
    """
    work = _Work(config, registry)
    if config.recover == "none":
        return _run_at_once(work, command)
    return run_job(config, command, partial(_prepare, work))


@dataclass(frozen=True)
class _Work:
    """What a run works with; read once, and not before it is needed."""

    config: SlimConfig
    registry: Registry

    @cached_property
    def whole(self) -> Specialist:
        return self.registry.get(self.config.source)

    @cached_property
    def splits(self) -> Splits:
        splits = load_splits(self.config.data)
        _check_data(self.whole.spec, splits.chips["train"], self.config)
        return splits

    @cached_property
    def slimmed(self) -> Specialist:
        config, chips = self.config, self.splits.chips["train"]
        count, size = min(config.images, len(chips)), config.trainer.batch_size
        parts = [torch.split(part, size) for part in choose_images(chips, count)]
        batches = [{"image": image, "valid": valid} for image, valid in zip(*parts, strict=True)]
        return slim(
            self.whole,
            config.ratio,
            scope=config.scope,
            importance=config.importance,
            batches=batches,
        )

    @property
    def is_scored(self) -> bool:
        """Whether there are answers, and labels to score them by."""
        return "similarity-search" not in (self.whole.spec.task, self.splits.chips["train"].task)

    def record(self, counts_K: Tensor | None = None) -> dict[str, Any]:
        """What the record of the training says of where the result comes from."""
        config = self.config
        card = self.registry.specialist(config.source)
        return {
            "data": describe_data(config.data, self.splits, counts_K),
            "pretrained": None,
            "slimming": {
                "source": str(card.reference),
                "source_sha256": card.sha256,
                "ratio": config.ratio,
                "scope": config.scope,
                "importance": config.importance,
                "recover": config.recover,
            },
        }


def _check_data(spec: SpecialistSpec, chips: ChipDataset, config: SlimConfig) -> None:
    """Refuse chips of other bands or, where they are labelled, of another task."""
    check_bands(config.source, spec, config.data.name, chips)
    if chips.task == "similarity-search":
        return
    if spec.task != "similarity-search":
        check_task(config.source, spec, config.data.name, chips)
    elif config.recover == "labels":
        raise InputError(f"{config.source} has no task to learn with labels; recover=distil")


def _prepare(work: _Work, _: dict[str, Any] | None) -> Job[SpecialistModule[Specialist]]:
    """The job of recovery; what is slimmed follows from source and data, after a kill as before."""
    config, counts_K = work.config, None
    trainer = config.trainer
    if config.recover == "labels":
        counts_K, weights_K = count_labels(
            config.data, trainer.class_weights, work.splits.chips["train"], "recover=distil"
        )
        metric, mode = selection_metric(work.slimmed.spec)
    else:
        metric, mode = "distil", "min"

    def build() -> SpecialistModule[Specialist]:
        learner = deepcopy(work.slimmed).train()
        if config.recover == "labels":
            return SpecialistTask(learner, trainer, weights_K)
        return DistilTask(learner, deepcopy(work.whole), trainer)

    return Job(
        spec=work.slimmed.spec.to_dict(),
        build=build,
        data=SpecialistData(
            work.splits,
            batch_size=trainer.batch_size,
            seed=config.seed,
            workers=config.data.workers,
        ),
        monitor=f"val_{metric}",
        mode=mode,
        save=lambda module, path: save_weights(module.specialist, path),
        score=lambda run, _, device: _score(work, run, device),
        record=lambda: work.record(counts_K),
    )


def _run_at_once(work: _Work, command: str) -> RunFolder:
    """A run that learns nothing, in the same folder and with the same records as any other."""
    config = work.config
    slimmed = work.slimmed
    run = RunFolder.open(Path(config.run_dir), to_plain(config), overwrite=config.overwrite)
    if run.status == "finished":
        console.print(f"{run.path} holds a finished run; overwrite=true slims anew")
        return run
    run.write_json("spec.json", slimmed.spec.to_dict())
    save_weights(slimmed, run.weights)
    facts: Mapping[str, Any] = {
        "seed": config.seed,
        "machine": describe_machine(),
        "versions": package_versions(),
        "command": command,
        "started": run.started.isoformat(timespec="seconds"),
    }
    run.write_json("training.json", {**work.record(), **facts})
    try:
        _score(work, run, torch.device("cpu"))
    except InputError:
        run.discard()
        raise
    return run


def _score(work: _Work, run: RunFolder, device: torch.device) -> None:
    """Measure before and after, and score what was written; the run is finished by this."""
    config, chips = work.config, work.splits.chips
    result = load_specialist(run.weights)
    shown = chips["test" if "test" in chips else "selection"]
    rows = measure_rows(
        {
            config.source: (work.whole, work.registry.specialist(config.source).size),
            "slimmed": (work.slimmed, run.weights.stat().st_size),
        }
        | (
            {}
            if config.recover == "none"
            else {f"recovered ({config.recover})": (result, run.weights.stat().st_size)}
        ),
        shown,
        device,
        is_scored=work.is_scored,
    )
    run.write_json(FILE, {"rows": [row.to_dict() for row in rows]})
    if work.is_scored:
        draw_pareto(rows, run.path / PICTURE)
        score_run(run, result, config, config.data, chips, device)
        return
    error = _mean_answer_error(work.whole, result, chips["selection"], device)
    scores = {"selection": {"answer_error": error}, "test": None, "floors": {}}
    run.write_json("metrics.json", scores)


@torch.no_grad()
def _mean_answer_error(
    whole: Specialist, result: Specialist, chips: ChipDataset, device: torch.device, most: int = 256
) -> float:
    """How far the answers are from those of the whole specialist, over some chips."""
    x_BCHW, valid = (part.to(device) for part in choose_images(chips, min(most, len(chips))))
    answers, wanted = (net.to(device).eval()(x_BCHW, valid=valid) for net in (result, whole))
    return float(answer_error(whole.spec, answers, wanted))
