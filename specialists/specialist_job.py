"""What a run does that trains a specialist's weights, whatever it learns from.

Shape suffixes: K classes.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from sensors import InputError
from specialists.config import PretrainedConfig, SpecialistRunConfig
from specialists.data import Splits
from specialists.facts import describe_training
from specialists.files import save_weights
from specialists.job import Job
from specialists.loading import SpecialistData
from specialists.metrics import selection_metric
from specialists.model import Specialist, build_specialist
from specialists.module import SpecialistModule
from specialists.pretrained import load_backbone
from specialists.run import RunFolder, keep_start
from specialists.spec import SpecialistSpec

Module = TypeVar("Module", bound=SpecialistModule[Specialist])


def specialist_job(
    config: SpecialistRunConfig,
    splits: Splits,
    spec: SpecialistSpec,
    teach: Callable[[Specialist], Module],
    score: Callable[[RunFolder, Module, torch.device], None],
    counts_K: Tensor | None = None,
) -> Job[Module]:
    """The job of training a specialist.

    Args:
        config: Of the run.
        splits: The chips.
        spec: The network.
        teach: From the network to what trains it.
        score: As for `Job`.
        counts_K: How often each class occurs in the training split, for the record.

    Raises:
        InputError: If the weights to start from lie in the run's folder.
    """
    if config.specialist.pretrained.file is not None:
        keep_start(config.specialist.pretrained.file, config.run_dir)

    def build() -> Module:
        specialist = build_specialist(spec)
        _start(specialist, config.specialist.pretrained)
        return teach(specialist)

    metric, mode = selection_metric(spec)
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
        mode=mode,
        save=_save,
        score=score,
        record=partial(describe_training, config, splits, counts_K),
    )


def _start(specialist: Specialist, pretrained: PretrainedConfig) -> None:
    if pretrained.file is not None:
        load_backbone(specialist, pretrained.file)
    elif pretrained.registry is not None:
        raise InputError(
            f"specialist.pretrained.registry={pretrained.registry} was not looked up: do so with "
            "registry.training.find_start, as the commands do, or give specialist.pretrained.file"
        )


def _save(module: SpecialistModule[Specialist], path: Path) -> None:
    save_weights(module.specialist, path)
