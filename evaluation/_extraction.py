"""Asking an encoder about chips, batch by batch, and writing down what it says.

Tensor shapes: B batch, C channels, H rows, W columns.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader

from evaluation._chip_views import ChipView
from evaluation._feature_files import Arrays, FeatureFiles
from evaluation._prefetch import prefetch
from evaluation.encoders import LoadedEncoder
from rasters import ChipDataset
from rasters.progress import show_progress
from sensors import InputError

_SECONDS_BETWEEN_RECORDS = 10.0

Batch = dict[str, Any]


class Extraction:
    """Fills the files of one extraction, batch by batch."""

    def __init__(
        self,
        encoder: LoadedEncoder,
        view: ChipView,
        files: FeatureFiles,
        *,
        dense: bool,
        device: str,
    ) -> None:
        self.encoder, self.view, self.files = encoder, view, files
        self.dense, self.device = dense, torch.device(device)
        self.module: Any = encoder.module.to(self.device)

    def run(self, record: dict[str, Any] | None, loader: DataLoader[Batch]) -> dict[str, Any]:
        """Compute the rows that are not there yet, and return the record of all."""
        arrays = self.files.open(record, writable=True) if record else {}
        noted = time.monotonic()
        title = f"Features of {self.encoder.name}"
        try:
            for batch in show_progress(prefetch(iter(loader)), title, total=len(loader)):
                answer = self._ask(batch)
                rows = answer.rows()
                self._check(rows, batch["id"])
                rows["targets"] = _targets(self.view.chips, batch)
                if record is None:
                    record, arrays = self._begin(answer, rows, batch["image"].shape[-2:])
                done = record["done"]
                for name, values in rows.items():
                    arrays[name][done : done + len(values)] = values
                record["done"] = done + len(batch["id"])
                if time.monotonic() - noted > _SECONDS_BETWEEN_RECORDS:
                    self.files.write_record(record, arrays)
                    noted = time.monotonic()
        finally:
            if record is not None:
                self.files.write_record(record, arrays)
        assert record is not None
        return record

    @torch.inference_mode()
    def _ask(self, batch: Batch) -> "_Answer":
        x_BCHW = batch["image"].to(self.device, non_blocking=True)
        inputs = (x_BCHW, self.view.bands, batch["valid"].to(self.device, non_blocking=True))
        has_vector = hasattr(self.module, "embed")
        levels, gate = [], {}
        if hasattr(self.module, "features_and_gate"):
            levels, gate = self.module.features_and_gate(*inputs)
        else:
            if self.dense or not has_vector:
                levels = self.module.forward_features(*inputs)
            if hasattr(self.module, "gate_weights"):
                gate = self.module.gate_weights(*inputs)
        return _Answer(
            pooled={"embed": self.module.embed(*inputs)} if has_vector else _summarize(levels),
            levels=levels if self.dense else [],
            gate=gate,
        )

    def _begin(
        self, answer: "_Answer", rows: Arrays, size: Sequence[int]
    ) -> tuple[dict[str, Any], Arrays]:
        """The record of an extraction with nothing done, and its empty arrays."""
        shapes = {
            name: ((len(self.view), *values.shape[1:]), str(values.dtype))
            for name, values in rows.items()
        }
        record = {
            "done": 0,
            "encoder": {"name": self.encoder.name, "digest": self.encoder.digest},
            "ids": self.view.chips.ids,
            "groups": self.view.chips.groups,
            "columns": {name: part.shape[1] for name, part in answer.pooled.items()},
            "members": list(answer.gate),
            "covered": self._covered(answer.levels, size),
            "arrays": shapes,
        }
        return record, self.files.create(shapes)

    def _covered(self, levels: Sequence[Tensor], size: Sequence[int]) -> list[float]:
        """Share of the levels' rows and columns that is image; the rest is padding."""
        if not levels:
            return [1.0, 1.0]
        if hasattr(self.module, "input_size"):
            size = self.module.input_size(*size)
        step = self.module.feature_info.reduction()[0]
        grid = levels[0].shape[-2:]
        return [length / (cells * step) for length, cells in zip(size, grid, strict=True)]

    def _check(self, rows: Arrays, ids: Sequence[str]) -> None:
        for name, values in rows.items():
            # A sum is finite only if all its parts are, and is cheaper than asking each of them.
            finite_B = np.isfinite(values.reshape(len(values), -1).sum(1, dtype=np.float64))
            if not finite_B.all():
                raise InputError(
                    f"encoder {self.encoder.name} gives features that are not finite ({name}) for "
                    f"the chip {ids[int(finite_B.argmin())]}: look for extreme pixels in it, or "
                    "for weights that are not finite"
                )


@dataclass(frozen=True)
class _Answer:
    """What an encoder makes of a batch: named parts of the vector, levels, members' weights."""

    pooled: dict[str, Tensor]
    levels: list[Tensor]
    gate: dict[str, Tensor]

    def rows(self) -> Arrays:
        """Rows of every array of the files but the targets'."""
        tensors = {"pooled": torch.cat(list(self.pooled.values()), dim=1)}
        tensors |= {f"level_{number}": level for number, level in enumerate(self.levels)}
        if self.gate:
            tensors["gate"] = torch.stack(list(self.gate.values()), dim=1)
        return {name: values.float().cpu().numpy() for name, values in tensors.items()}


def _summarize(levels: list[Tensor]) -> dict[str, Tensor]:
    """Mean and standard deviation of each level's channels, (B, C_i) each."""
    means, deviations = {}, {}
    for number, level_BCHW in enumerate(levels):
        # In two passes: as exact as torch.std_mean, and on CPUs several times as fast.
        mean_BC11 = level_BCHW.mean((2, 3), keepdim=True)
        deviation_BC = (level_BCHW - mean_BC11).square_().mean((2, 3)).sqrt_()
        means[f"mean/{number}"] = mean_BC11[:, :, 0, 0]
        deviations[f"std/{number}"] = deviation_BC
    return means | deviations


def _targets(chips: ChipDataset, batch: Batch) -> NDArray[Any]:
    targets: NDArray[Any] = batch["mask" if "mask" in batch else "label"].numpy()
    if chips.task == "regression":
        return targets.astype(np.float32)
    return targets.astype(np.uint8 if "mask" in batch else np.int64)
