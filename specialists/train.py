"""`train-specialist`: from a configuration to a run folder that `register-specialist` takes.

train-specialist experiment=eurosat_rgb data.root=/data run_dir=runs/eurosat_rgb seed=0
"""

import hashlib
import logging
import re
import shlex
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Timer
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from rich.console import Console
from torch import Tensor

from rasters import measure_statistics
from sensors import Channel, InputError
from sensors.errors import exit_on_input_error
from specialists.callbacks import build_callbacks
from specialists.config import PretrainedConfig, TrainConfig, parse_command_line, to_plain
from specialists.data import describe_splits, load_splits
from specialists.evaluate import evaluate
from specialists.files import load_specialist, save_weights
from specialists.floors import measure_floors
from specialists.loading import SpecialistData
from specialists.losses import balance_weights
from specialists.metrics import selection_metric
from specialists.model import build_specialist
from specialists.pretrained import load_backbone
from specialists.report import print_scores
from specialists.run import RunFolder, describe_machine, package_versions
from specialists.spec import SpecialistSpec
from specialists.targets import count_classes, measure_targets
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
    run = RunFolder.open(Path(config.run_dir), to_plain(config), overwrite=config.overwrite)
    if run.status == "finished":
        console.print(f"{run.path} holds a finished run; overwrite=true trains anew")
        return run
    timer = Timer()
    try:
        data = SpecialistData(
            load_splits(config.data),
            batch_size=config.trainer.batch_size,
            seed=config.seed,
            workers=config.data.workers,
        )
        train = data.chips["train"]
        counts_K = None if train.task == "regression" else count_classes(train, train.classes)
        if run.status == "new":
            run.write_json("spec.json", _describe_network(config, data).to_dict())
        device = _fit(run, config, data, _class_weights(config, data, counts_K), timer)
    except InputError:
        run.discard()
        raise
    if device is not None:
        training = _describe_training(run, config, data, counts_K)
        training |= {"command": command, "seconds": round(timer.time_elapsed("train"), 1)}
        run.write_json("training.json", training)
        _score(run, config, data, device)
    return run


def _fit(
    run: RunFolder,
    config: TrainConfig,
    data: SpecialistData,
    class_weights: Tensor | None,
    timer: Timer,
) -> torch.device | None:
    """Train, or go on; write the best weights. Gives the device, on the first process only."""
    spec = SpecialistSpec.from_dict(run.read_json("spec.json"))
    L.seed_everything(config.seed, verbose=False)
    specialist = build_specialist(spec)
    if config.specialist.pretrained.file is not None:
        load_backbone(specialist, config.specialist.pretrained.file)
    task = SpecialistTask(specialist, config.trainer, class_weights)
    trainer = _build_trainer(run, config, spec, timer)
    resumed = run.last_checkpoint if run.status == "interrupted" else None
    if resumed is not None:
        console.print(f"Going on from {resumed}")
    trainer.fit(task, datamodule=data, ckpt_path=resumed, weights_only=True)
    if not trainer.is_global_zero:
        return None
    best = torch.load(run.best_checkpoint, map_location="cpu", weights_only=True)
    task.load_state_dict(best["state_dict"])
    save_weights(specialist, run.weights)
    device: torch.device = trainer.strategy.root_device
    return device


def _build_trainer(
    run: RunFolder, config: TrainConfig, spec: SpecialistSpec, timer: Timer
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
        callbacks=[timer, *callbacks],
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


def _describe_network(config: TrainConfig, data: SpecialistData) -> SpecialistSpec:
    """What the network has to be for these data, scaled by statistics of the training split."""
    chips = data.chips["train"]
    statistics = measure_statistics(chips)
    network, classes = config.specialist, chips.classes
    scaling: dict[str, Any] = {}
    if config.data.task == "regression":
        scaling["target_mean"], scaling["target_std"] = measure_targets(chips, classes)
    return SpecialistSpec(
        architecture=network.architecture,
        task=chips.task,
        bands=chips.bands,
        classes=classes,
        mean=statistics.mean,
        std=statistics.std,
        gsd=_gsd(config, chips.bands),
        chip_size=chips[0]["image"].shape[-1],
        multi_label=chips.multi_label,
        per_pixel=chips.task == "regression" and "mask" in chips[0],
        stem_stride=network.stem_stride,
        head=network.head,
        head_hidden_size=network.head_hidden_size,
        decoder=network.decoder,
        drop_path_rate=network.drop_path_rate,
        drop_rate=network.drop_rate,
        **scaling,
    )


def _gsd(config: TrainConfig, bands: Sequence[Channel]) -> float:
    known = [band.gsd for band in bands if band.gsd is not None]
    if config.data.gsd is None and not known:
        raise InputError(
            f"the bands of data {config.data.name} do not say how large a pixel is; "
            "give data.gsd in metres"
        )
    return config.data.gsd or min(known)


def _class_weights(
    config: TrainConfig, data: SpecialistData, counts_K: Tensor | None
) -> Tensor | None:
    kind, train = config.trainer.class_weights, data.chips["train"]
    if kind not in ("none", "balanced"):
        raise InputError(f"trainer.class_weights {kind!r} is not one of none, balanced")
    if kind == "none" or counts_K is None:
        return None
    return balance_weights(counts_K, len(train) if train.multi_label else None)


def _describe_training(
    run: RunFolder, config: TrainConfig, data: SpecialistData, counts_K: Tensor | None
) -> dict[str, Any]:
    settings, train = config.data, data.chips["train"]
    return {
        "data": {
            "name": settings.name,
            "title": settings.title,
            "licence": settings.licence,
            "source": settings.source,
            "counts": {name: len(chips) for name, chips in data.chips.items()},
            "class_counts": {}
            if counts_K is None
            else dict(zip(train.classes, counts_K.tolist(), strict=True)),
            "split_hash": data.digest,
            "split": describe_splits(settings),
        },
        "seed": config.seed,
        "epochs": config.trainer.epochs,
        "started": run.started.isoformat(timespec="seconds"),
        "machine": describe_machine(),
        "versions": package_versions(),
        "pretrained": _describe_pretrained(config.specialist.pretrained),
    }


def _describe_pretrained(pretrained: PretrainedConfig) -> dict[str, str | None] | None:
    if pretrained.file is None:
        return None
    path = Path(pretrained.file)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return {"file": path.name, "sha256": digest, "licence": pretrained.licence}


def _score(run: RunFolder, config: TrainConfig, data: SpecialistData, device: torch.device) -> None:
    """Score the weights as they were written, and the floors; the run is finished by this."""
    specialist = load_specialist(run.weights)
    spec = specialist.spec
    unseen = [name for name in data.chips if name not in ("train", "selection")]
    scores = {
        name: evaluate(
            specialist,
            data.chips[name],
            batch_size=config.trainer.batch_size,
            device=device,
            title=f"Scores ({name})",
        )
        for name in ("selection", *unseen)
    }
    compared = unseen or ["selection"]
    floors = measure_floors(
        spec, data.chips["train"], {name: data.chips[name] for name in compared}, config.seed
    )
    main_split = "test" if "test" in scores else compared[0]
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
