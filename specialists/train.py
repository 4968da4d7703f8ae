"""`train-specialist`: from a configuration to a run folder that `register-specialist` takes.

train-specialist experiment=eurosat_rgb data.root=/data run_dir=runs/eurosat_rgb seed=0
"""

import logging
import re
import shlex
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback, Timer
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from rich.console import Console
from torch import Tensor, distributed

from rasters import ChipDataset
from sensors import InputError
from sensors.errors import exit_on_input_error
from specialists.callbacks import TrackEnergy, build_callbacks
from specialists.config import TrainConfig, parse_command_line, to_plain
from specialists.data import Splits, load_splits
from specialists.evaluate import evaluate
from specialists.facts import describe_network, describe_training, weigh_classes
from specialists.files import load_specialist, save_weights
from specialists.floors import measure_floors
from specialists.loading import SpecialistData
from specialists.metrics import selection_metric
from specialists.model import build_specialist
from specialists.pretrained import load_backbone
from specialists.report import print_scores
from specialists.run import RunFolder
from specialists.spec import SpecialistSpec
from specialists.targets import count_classes
from specialists.task import SpecialistTask

console = Console()


@exit_on_input_error
def main() -> None:
    """Entry point of `train-specialist`."""
    config = parse_command_line(sys.argv[1:])
    if config is not None:
        train_specialist(config, command=shlex.join(["train-specialist", *sys.argv[1:]]))


def train_specialist(config: TrainConfig, command: str = "") -> RunFolder:
    """Train, score and write a specialist; go on with a run that was interrupted.

    Args:
        config: What to train, on what, how and where.
        command: The command line, for the record.

    Returns:
        The run folder; finished, unless this is not the first of several processes.

    Raises:
        InputError: If the configuration, the data or the run folder cannot be used.
    """
    # Lightning starts this command again for each further process: only the first may clear.
    overwrite = config.overwrite and getattr(rank_zero_only, "rank", 0) == 0
    # Read through before an earlier run is cleared: unusable data must not cost it.
    prepared = _prepare(config) if overwrite else None
    run = RunFolder.open(Path(config.run_dir), to_plain(config), overwrite=overwrite)
    if run.status == "finished":
        console.print(f"{run.path} holds a finished run; overwrite=true trains anew")
        return run
    timer, energy = Timer(), TrackEnergy()
    recorders = [timer, energy] if config.trainer.energy else [timer]
    try:
        splits, spec, counts_K, weights_K = prepared or _prepare(config, run)
        if run.status == "new":
            run.write_json("spec.json", spec.to_dict())
        trainer = _fit(run, config, splits, weights_K, recorders)
    except InputError:
        run.discard()
        raise
    if trainer is not None:
        training = describe_training(config, splits, counts_K) | {
            "epochs": trainer.current_epoch,
            "command": command,
            "started": run.started.isoformat(timespec="seconds"),
            "seconds": round(timer.time_elapsed("train"), 1),
        }
        if config.trainer.energy:
            used = energy.read()
            training |= {"energy_kwh": used.kwh, "energy_method": used.method}
        run.write_json("training.json", training)
        _score(run, config, splits.chips, trainer.strategy.root_device)
    return run


def _prepare(
    config: TrainConfig, run: RunFolder | None = None
) -> tuple[Splits, SpecialistSpec, Tensor | None, Tensor | None]:
    """Splits, network, chips or pixels of each class, and class weights; the data is read once."""
    splits = load_splits(config.data)
    train = splits.chips["train"]
    counts_K = None if train.task == "regression" else count_classes(train, train.classes)
    weights_K = weigh_classes(config.trainer.class_weights, train, counts_K)
    if run is not None and run.status == "interrupted":
        spec = SpecialistSpec.from_dict(run.read_json("spec.json"))
    else:
        spec = describe_network(config, train)
    return splits, spec, counts_K, weights_K


def _fit(
    run: RunFolder,
    config: TrainConfig,
    splits: Splits,
    weights_K: Tensor | None,
    recorders: Sequence[Callback],
) -> L.Trainer | None:
    """Train, or go on, and write the best weights; the trainer, on the first process only."""
    spec = SpecialistSpec.from_dict(run.read_json("spec.json"))
    L.seed_everything(config.seed, verbose=False)
    specialist = build_specialist(spec)
    if config.specialist.pretrained.file is not None:
        load_backbone(specialist, config.specialist.pretrained.file)
    task = SpecialistTask(specialist, config.trainer, weights_K)
    data = SpecialistData(
        splits,
        batch_size=config.trainer.batch_size,
        seed=config.seed,
        workers=config.data.workers,
    )
    trainer = _build_trainer(run, config, spec, recorders)
    resumed = run.last_checkpoint if run.status == "interrupted" else None
    if resumed is not None:
        console.print(f"Going on from {resumed}")
    trainer.fit(task, datamodule=data, ckpt_path=resumed, weights_only=True)
    if distributed.is_available() and distributed.is_initialized():
        # What follows is the first process's alone: its metrics must not wait for the others.
        distributed.destroy_process_group()
    if not trainer.is_global_zero:
        return None
    best = torch.load(run.best_checkpoint, map_location="cpu", weights_only=True)
    task.load_state_dict(best["state_dict"])
    save_weights(specialist, run.weights)
    return trainer


def _build_trainer(
    run: RunFolder, config: TrainConfig, spec: SpecialistSpec, recorders: Sequence[Callback]
) -> L.Trainer:
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    # Chips are kept in memory: reading them in other processes would only cost.
    warnings.filterwarnings("ignore", ".*does not have many workers")
    warnings.filterwarnings("ignore", ".*isinstance.treespec, LeafSpec.", FutureWarning)
    warnings.filterwarnings("ignore", ".*Checkpoint directory .* exists and is not empty")
    recipe = config.trainer
    metric, mode = selection_metric(spec)
    callbacks = build_callbacks(
        run.checkpoints,
        monitor=f"val_{metric}",
        mode=mode,
        seed=config.seed,
        patience=recipe.patience,
        ema=recipe.ema,
    )
    uses_cuda = torch.cuda.is_available() and recipe.accelerator in ("auto", "gpu", "cuda")
    return L.Trainer(
        accelerator=recipe.accelerator,
        devices=recipe.devices,
        strategy=recipe.strategy,
        precision="bf16-mixed" if recipe.amp and uses_cuda else "32-true",
        deterministic=recipe.deterministic,
        max_epochs=recipe.epochs,
        gradient_clip_val=recipe.gradient_clip or None,
        callbacks=[*recorders, *callbacks],
        logger=[
            CSVLogger(run.path / "logs", name="csv", flush_logs_every_n_steps=1),
            TensorBoardLogger(run.path / "logs", name="tensorboard", version=""),
        ],
        log_every_n_steps=1,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        enable_model_summary=False,
        default_root_dir=run.path,
    )


def _score(
    run: RunFolder, config: TrainConfig, chips: dict[str, ChipDataset], device: torch.device
) -> None:
    """Score the weights as they were written, and the floors; the run is finished by this."""
    specialist = load_specialist(run.weights)
    spec = specialist.spec
    unseen = [name for name in chips if name not in ("train", "selection")]
    scores = {
        name: evaluate(
            specialist,
            chips[name],
            batch_size=config.trainer.batch_size,
            device=device,
            title=f"Scores ({name})",
        )
        for name in ("selection", *unseen)
    }
    main_split = "test" if "test" in unseen else "selection"
    compared = list(dict.fromkeys([main_split, *unseen]))
    floors = measure_floors(
        spec, chips["train"], {name: chips[name] for name in compared}, config.seed
    )
    run.write_json(
        "metrics.json",
        {
            "selection": scores["selection"],
            "test": scores.get("test"),
            "floors": {name: by_split[main_split] for name, by_split in floors.items()},
            "other_tests": {
                name: {"specialist": scores[name]}
                | {floor: by_split[name] for floor, by_split in floors.items()}
                for name in config.data.other_tests
            },
        },
    )
    print_scores(console, spec, scores, floors)
    name = re.sub(r"[^a-z0-9]+", "-", config.name.lower()).strip("-")
    console.print(f"Run folder: {run.path}. Next:", soft_wrap=True)
    console.print(
        f"register-specialist {shlex.quote(str(run.path))} --name {name} --version 1.0.0",
        soft_wrap=True,
        highlight=False,
        markup=False,
    )
