"""A warm start: from chips without labels to a backbone that specialists start from.

pretrain-backbone data=unlabelled data.root=/data/chips data.sensor=naip run_dir=runs/a
"""

import shlex
from functools import partial
from typing import Any

import torch
from torch.utils.data import DataLoader

from rasters import ChipDataset
from rasters.progress import show_progress
from specialists.data import load_splits
from specialists.facts import describe_backbone
from specialists.job import Job, console, run_job
from specialists.loading import collate
from specialists.run import RunFolder
from specialists.spec import SpecialistSpec
from specialists.specialist_job import specialist_job
from specialists.warm_start_config import PretrainConfig
from specialists.warm_start_picture import draw_reconstructions
from specialists.warm_start_task import MaskedTask

_SHOWN = 6


def pretrain_backbone(config: PretrainConfig, command: str = "") -> RunFolder:
    """Pretrain a backbone, score and write it; go on with a run that was interrupted.

    It learns from the training split, is chosen by the selection split, and looks neither at labels
    nor at the test split. The weights that it leaves are those of a specialist without a head.

    Args:
        config: What to train, on what, how and where.
        command: The command line, for the record.

    Returns:
        The run folder; finished, unless this is not the first of several processes.

    Raises:
        InputError: If the configuration, the data or the run folder cannot be used.
    """
    return run_job(config, command, partial(_prepare, config))


def _prepare(config: PretrainConfig, spec: dict[str, Any] | None) -> Job[MaskedTask]:
    splits = load_splits(config.data)
    return specialist_job(
        config,
        splits,
        SpecialistSpec.from_dict(spec)
        if spec
        else describe_backbone(config, splits.chips["train"]),
        lambda specialist: MaskedTask(specialist, config.trainer),
        partial(_score, config, splits.chips["selection"]),
    )


def _score(
    config: PretrainConfig,
    chips: ChipDataset,
    run: RunFolder,
    module: MaskedTask,
    device: torch.device,
) -> None:
    """Reconstruct the selection split, and draw some of it; the run is finished by this."""
    module.to(device).eval()
    error, floor = measure_error(module, chips, config.trainer.batch_size)
    shown = chips.subset(range(min(_SHOWN, len(chips))))
    draw_reconstructions(module, shown, run.path / "reconstruction.png")
    run.write_json(
        "metrics.json",
        {
            "selection": {"masked_mse": error},
            "test": None,
            "floors": {"patch_mean": {"masked_mse": floor}},
        },
    )
    console.print(
        f"Error at hidden pixels {error:.4f}; {floor:.4f} if each patch's own mean were said. "
        f"Look at {run.path / 'reconstruction.png'}",
        soft_wrap=True,
    )
    console.print("To start a specialist from it:", soft_wrap=True)
    console.print(
        f"train-specialist ... specialist.pretrained.file={shlex.quote(str(run.weights))} "
        f"specialist.pretrained.licence={shlex.quote(config.data.licence)}",
        soft_wrap=True,
        highlight=False,
        markup=False,
    )


@torch.no_grad()
def measure_error(task: MaskedTask, chips: ChipDataset, batch_size: int) -> tuple[float, float]:
    """Mean squared error at hidden pixels, and that of saying each patch's own mean.

    Args:
        task: In evaluation mode, on any device.
        chips: Of the task's bands.
        batch_size: Chips at once; with it, what is hidden changes.
    """
    totals = torch.zeros(3, dtype=torch.float64)
    loader = DataLoader(chips, batch_size, collate_fn=collate)
    for number, batch in enumerate(show_progress(loader, "Reconstructing")):
        made = task.reconstruct(
            batch["image"].to(task.device),
            batch["valid"].to(task.device),
            torch.Generator().manual_seed(number),
        )
        count = made.counted_BDYX.sum()
        totals += torch.stack([made.error() * count, made.floor() * count, count]).cpu()
    error, floor = (totals[:2] / totals[2].clamp(min=1)).tolist()
    return error, floor
