"""One run from its configuration to a finished folder: train, or go on, keep the best, record."""

import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback, Timer
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from rich.console import Console
from torch import distributed

from sensors import InputError
from specialists.callbacks import TrackEnergy, build_callbacks
from specialists.config import RunConfig, to_plain
from specialists.recipe import LoopConfig
from specialists.run import RunFolder, describe_machine, package_versions

console = Console()

Module = TypeVar("Module", bound=L.LightningModule)


@dataclass(frozen=True)
class Job(Generic[Module]):
    """What a run is to do.

    Args:
        spec: What network it is, plain data.
        build: Makes the network with what trains it; torch has been seeded.
        data: Its batches.
        monitor: Logged score that selects the best epoch.
        mode: `max` or `min`, whichever is best.
        save: Given the best weights and a path, it writes the result.
        score: Given the folder, the best weights and the device, it writes the scores; that
            finishes the run.
        record: Tells what the record of the training says beside time, seed and machine.
        callbacks: Lightning's, of this run alone.
    """

    spec: dict[str, Any]
    build: Callable[[], Module]
    data: L.LightningDataModule
    monitor: str
    mode: str
    save: Callable[[Module, Path], None]
    score: Callable[[RunFolder, Module, torch.device], None]
    record: Callable[[], Mapping[str, Any]]
    callbacks: Sequence[Callback] = ()


def run_job(
    config: RunConfig, command: str, prepare: Callable[[dict[str, Any] | None], Job[Module]]
) -> RunFolder:
    """Train, score and write a network; go on with a run that was interrupted.

    Args:
        config: What to train, on what, how and where.
        command: The command line, for the record.
        prepare: Reads the data; given the spec of an interrupted run, it measures none anew.

    Returns:
        The run folder; finished, unless this is not the first of several processes.

    Raises:
        InputError: If the configuration, the data or the run folder cannot be used.
    """
    # Lightning starts this command again for each further process: only the first may clear.
    overwrite = config.overwrite and getattr(rank_zero_only, "rank", 0) == 0
    # Read through before an earlier run is cleared: unusable data must not cost it.
    job = prepare(None) if overwrite else None
    run = RunFolder.open(Path(config.run_dir), to_plain(config), overwrite=overwrite)
    if run.status == "finished":
        console.print(f"{run.path} holds a finished run; overwrite=true trains anew")
        return run
    timer, energy = Timer(), TrackEnergy()
    recorders = [timer, energy] if config.trainer.energy else [timer]
    try:
        recorded = run.read_json("spec.json") if run.status == "interrupted" else None
        job = job or prepare(recorded)
        if run.status == "new":
            run.write_json("spec.json", job.spec)
        trainer, module = _fit(run, config, job, recorders)
    except InputError:
        run.discard()
        raise
    if trainer.is_global_zero:
        best = torch.load(run.best_checkpoint, map_location="cpu", weights_only=True)
        module.load_state_dict(best["state_dict"])
        job.save(module, run.weights)
        training = {
            **job.record(),
            "seed": config.seed,
            "machine": describe_machine(),
            "versions": package_versions(),
            "epochs": trainer.current_epoch,
            "command": command,
            "started": run.started.isoformat(timespec="seconds"),
            "seconds": round(timer.time_elapsed("train"), 1),
        }
        if config.trainer.energy:
            used = energy.read()
            training |= {"energy_kwh": used.kwh, "energy_method": used.method}
        run.write_json("training.json", training)
        job.score(run, module, trainer.strategy.root_device)
    return run


def _fit(
    run: RunFolder, config: RunConfig, job: Job[Module], recorders: Sequence[Callback]
) -> tuple[L.Trainer, Module]:
    L.seed_everything(config.seed, verbose=False)
    module = job.build()
    callbacks = build_callbacks(
        run.checkpoints,
        monitor=job.monitor,
        mode=job.mode,
        seed=config.seed,
        patience=config.trainer.patience,
        ema=config.trainer.ema,
    )
    trainer = build_trainer(run.path, config.trainer, [*recorders, *job.callbacks, *callbacks])
    resumed = run.last_checkpoint if run.status == "interrupted" else None
    if resumed is not None:
        console.print(f"Going on from {resumed}")
    trainer.fit(module, datamodule=job.data, ckpt_path=resumed, weights_only=True)
    if distributed.is_available() and distributed.is_initialized():
        # What follows is the first process's alone: its metrics must not wait for the others.
        distributed.destroy_process_group()
    return trainer, module


def build_trainer(folder: Path, config: LoopConfig, callbacks: Sequence[Callback]) -> L.Trainer:
    """Lightning's trainer as every run here has it.

    Args:
        folder: The run's; logs go below it.
        config: How long, and where.
        callbacks: All of them.
    """
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    # Chips are kept in memory: reading them in other processes would only cost.
    warnings.filterwarnings("ignore", ".*does not have many workers")
    warnings.filterwarnings("ignore", ".*isinstance.treespec, LeafSpec.", FutureWarning)
    warnings.filterwarnings("ignore", ".*Checkpoint directory .* exists and is not empty")
    # A network that knows how its batches are moved is asked, whatever brings the batches.
    warnings.filterwarnings("ignore", ".*have overridden `transfer_batch_to_device`")
    uses_cuda = torch.cuda.is_available() and config.accelerator in ("auto", "gpu", "cuda")
    return L.Trainer(
        accelerator=config.accelerator,
        devices=config.devices,
        strategy=config.strategy,
        precision="bf16-mixed" if config.amp and uses_cuda else "32-true",
        deterministic=config.deterministic,
        max_epochs=config.epochs,
        gradient_clip_val=config.gradient_clip or None,
        callbacks=list(callbacks),
        logger=[
            CSVLogger(folder / "logs", name="csv", flush_logs_every_n_steps=1),
            TensorBoardLogger(folder / "logs", name="tensorboard", version=""),
        ],
        log_every_n_steps=1,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )
