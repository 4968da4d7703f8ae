"""Where the training data of a specialist lie in a trunk's space: the mean of their embeddings.

A gate compares an image with it, so both are embedded alike: the image is brought to the edge that
the gate uses (`EnsembleSpec.trunk_image_size`), and a band without a valid pixel is not there.

Tensor shapes: B batch, C bands, H rows, W columns, N chips, D width of the trunk.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from torch import Tensor

from rasters import ChipDataset
from rasters.progress import show_progress
from registry import Prototype, Registry
from registry.describe import read_record
from router.ensemble_spec import EnsembleSpec
from router.find import find_trunk_pin
from router.input_size import fit_to_patches
from router.trunk import Trunk
from sensors.bands import Channel
from sensors.errors import InputError
from specialists.data import DataConfig, load_splits

_IMAGE_SIZE = EnsembleSpec.trunk_image_size


def compute_prototype(
    trunk: Trunk,
    trunk_sha256: str,
    chips: ChipDataset,
    *,
    image_size: int | None = _IMAGE_SIZE,
    limit: int = 512,
    batch_size: int = 64,
    device: torch.device | str = "cpu",
) -> Prototype:
    """Mean and standard deviation of a trunk's embeddings of chips.

    Args:
        trunk: It is moved to `device` and set to evaluation mode.
        trunk_sha256: Of its weight file: the prototype is of no use to another one.
        chips: A specialist's training chips. Those without a valid pixel are left out.
        image_size: Edge in pixels that chips are resized to; None: they grow to whole patches. It
            should be the gate's.
        limit: At most so many chips are looked at, evenly spaced over the data set.
        batch_size: Chips embedded at once.
        device: Where.

    Raises:
        InputError: If no chip has a valid pixel, or `limit` is below 1.
    """
    if limit < 1:
        raise InputError(f"chips {limit} is not 1 or more: a prototype is the mean of some")
    trunk.to(device).eval()
    count = min(limit, len(chips))
    spread = chips.subset([number * len(chips) // count for number in range(count)])
    with torch.inference_mode():
        parts = [
            trunk.embed(x_BCHW.to(device), bands, valid_BCHW.to(device)).double().cpu()
            for x_BCHW, bands, valid_BCHW in _batches(spread, trunk, image_size, batch_size)
        ]
    if not parts:
        raise InputError(f"none of {count} chips has a valid pixel, so there is nothing to embed")
    embeddings_ND = torch.cat(parts)
    return Prototype(
        trunk=trunk_sha256,
        mean=tuple(embeddings_ND.mean(0).tolist()),
        std=tuple(embeddings_ND.std(0, correction=0).tolist()),
        chips=len(embeddings_ND),
    )


def compute_run_prototype(
    run_dir: Path | str, trunk: str, registry: Registry, *, limit: int = 512
) -> Prototype:
    """The prototype of a specialist, from the data that its run folder says it was trained on.

    Args:
        run_dir: Of a finished run.
        trunk: `name` or `name@version` of a registered trunk.
        registry: Where it is.
        limit: As for `compute_prototype`.

    Raises:
        InputError: If the trunk is not there, or the training chips are not those of the run.
    """
    run_dir = Path(run_dir)
    network, pin = find_trunk_pin(trunk, registry)
    chips = _training_chips(run_dir)
    return compute_prototype(network, pin.sha256, chips, limit=limit)


def _training_chips(run_dir: Path) -> ChipDataset:
    try:
        splits = load_splits(_read_data_config(run_dir))
    except InputError as error:
        raise InputError(
            f"a prototype needs the training data of {run_dir}, which cannot be had: {error}; "
            "register where they are, from the folder that the run was started in, or without a "
            "trunk"
        ) from error
    recorded = read_record(run_dir / "training.json").get("data")
    wanted = recorded.get("split_hash") if isinstance(recorded, Mapping) else None
    if wanted != splits.digest():
        raise InputError(
            f"the data that {run_dir} was trained on have changed since: their splits hold other "
            "chips; restore them, or register without a trunk"
        )
    return splits.chips["train"]


def _read_data_config(run_dir: Path) -> DataConfig:
    path = run_dir / "config.yaml"
    try:
        record: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
        merged = OmegaConf.merge(OmegaConf.structured(DataConfig), record["data"])
        config = OmegaConf.to_object(merged)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} holds no configuration of a run: {error}") from error
    except (yaml.YAMLError, OmegaConfBaseException) as error:
        raise InputError(f"{path} cannot be used: {error}") from error
    assert isinstance(config, DataConfig)
    return config


def _batches(
    chips: ChipDataset, trunk: Trunk, image_size: int | None, batch_size: int
) -> Iterator[tuple[Tensor, tuple[Channel, ...], Tensor]]:
    """Pixels, bands and validity of chips with the same bands and, fitted to patches, one size."""
    waiting: list[tuple[Tensor, Tensor]] = []
    waiting_bands: tuple[Channel, ...] = ()
    for number in show_progress(range(len(chips)), "Embedding chips"):
        chip = chips[number]
        usable_CHW = chip["valid"] & chip["image"].isfinite()
        seen = usable_CHW.any(-1).any(-1)
        if not seen.any():
            continue
        fitted = fit_to_patches(
            chip["image"][seen][None], usable_CHW[seen][None], trunk.spec.patch_size, image_size
        )
        bands = tuple(band for band, is_seen in zip(chips.bands, seen, strict=True) if is_seen)
        if waiting and (
            len(waiting) == batch_size
            or bands != waiting_bands
            or fitted[0].shape != waiting[0][0].shape
        ):
            yield _stack(waiting, waiting_bands)
            waiting = []
        waiting_bands = bands
        waiting.append(fitted)
    if waiting:
        yield _stack(waiting, waiting_bands)


def _stack(
    waiting: list[tuple[Tensor, Tensor]], bands: tuple[Channel, ...]
) -> tuple[Tensor, tuple[Channel, ...], Tensor]:
    images, valid = zip(*waiting, strict=True)
    return torch.cat(images), bands, torch.cat(valid)
