"""Training a specialist: from a configuration to a run folder that `register-specialist` takes.

train-specialist experiment=eurosat_rgb data.root=/data run_dir=runs/eurosat_rgb seed=0
"""

import re
import shlex
from functools import partial
from typing import Any

import torch

from rasters import ChipDataset
from specialists.config import TrainConfig
from specialists.data import load_splits
from specialists.facts import count_labels, describe_network
from specialists.files import load_specialist
from specialists.job import Job, console, run_job
from specialists.model import Specialist
from specialists.run import RunFolder
from specialists.scoring import score_run
from specialists.spec import SpecialistSpec
from specialists.specialist_job import specialist_job
from specialists.task import SpecialistTask


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
    return run_job(config, command, partial(_prepare, config))


def _prepare(config: TrainConfig, spec: dict[str, Any] | None) -> Job[SpecialistTask[Specialist]]:
    """Splits, network, chips or pixels of each class, and class weights; the data is read once."""
    splits = load_splits(config.data)
    train = splits.chips["train"]
    counts_K, weights_K = count_labels(
        config.data, config.trainer.class_weights, train, "pretrain-backbone"
    )
    return specialist_job(
        config,
        splits,
        SpecialistSpec.from_dict(spec) if spec else describe_network(config, train),
        lambda specialist: SpecialistTask(specialist, config.trainer, weights_K),
        partial(_score, config, splits.chips),
        counts_K,
    )


def _score(
    config: TrainConfig,
    chips: dict[str, ChipDataset],
    run: RunFolder,
    _: SpecialistTask[Specialist],
    device: torch.device,
) -> None:
    """Score the weights as they were written, and the floors; the run is finished by this."""
    score_run(run, load_specialist(run.weights), config, config.data, chips, device)
    name = re.sub(r"[^a-z0-9]+", "-", config.name.lower()).strip("-")
    console.print(f"Run folder: {run.path}. Next:", soft_wrap=True)
    console.print(
        f"register-specialist {shlex.quote(str(run.path))} --name {name} --version 1.0.0",
        soft_wrap=True,
        highlight=False,
        markup=False,
    )
