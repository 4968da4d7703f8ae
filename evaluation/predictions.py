"""What an encoder's probe said of every test sample: enough for any score, resample and plot.

Scenes keep what was said; pixels are too many and keep sums of each chip, from which every score
follows exactly.

Shape suffixes: N samples, K classes or targets, B bins of confidence.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from evaluation._errors import error_sums
from evaluation._pixel_sums import (
    check_finite,
    check_labels,
    check_probabilities,
    sum_classes,
    sum_values,
    to_tensor,
)
from evaluation.tasks import Task
from sensors import InputError

FORMAT = 1


@dataclass(frozen=True, kw_only=True, eq=False)
class Predictions:
    """What one fitted probe said of the test samples.

    Args:
        task: What it was asked.
        ids: Name of every sample.
        groups: Group of every sample (a place, a flight), or None.

    Raises:
        InputError: If there is no sample, one is there twice, or the numbers of samples differ.
    """

    task: Task
    ids: tuple[str, ...]
    groups: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if not self.ids:
            raise InputError("there are no predictions: expected at least one test sample")
        if len(set(self.ids)) < len(self.ids):
            twice = next(name for name in self.ids if self.ids.count(name) > 1)
            raise InputError(f"{twice}: there are two predictions of this sample, expected one")
        for name, value in self._per_sample().items():
            if len(value) != len(self.ids):
                raise InputError(f"{len(self.ids)} samples have {len(value)} rows of {name}")

    def save(self, path: Path | str) -> None:
        """Write a compressed `.npz` file, which appears complete or not at all."""
        path = Path(path)
        header = json.dumps({"format": FORMAT, "task": asdict(self.task)})
        path.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
            part = Path(folder) / "part.npz"
            np.savez_compressed(part, header=header, ids=self.ids, **self._per_sample())
            part.replace(path)

    def _per_sample(self) -> dict[str, Any]:
        """Every field but the task and the ids that has a value."""
        names = [entry.name for entry in fields(self) if entry.name not in ("task", "ids")]
        values = {name: getattr(self, name) for name in names}
        return {name: value for name, value in values.items() if value is not None}


@dataclass(frozen=True, kw_only=True, eq=False)
class ScenePredictions(Predictions):
    """Predictions of whole scenes; made by `of`.

    Args:
        prediction_NK: Probability of every class, or value of every target; float32.
        target: Class numbers (N,), flags (N, K) for multi-label, or values (N, K) with NaN where
            one is not known.
    """

    prediction_NK: NDArray[np.float32]
    target: NDArray[Any]

    @classmethod
    def of(
        cls,
        task: Task,
        ids: Sequence[str],
        prediction_NK: ArrayLike,
        target: ArrayLike,
        groups: Sequence[str] | None = None,
    ) -> Self:
        """Predictions in any type of array.

        Raises:
            InputError: If shapes do not fit each other and the task, a prediction is not finite or
                not a probability, or a target is not a class.
        """
        prediction_NK = np.array(prediction_NK, np.float32)
        target = np.array(target)
        wide = task.multi_label or task.kind == "regression"
        shape = (len(ids), len(task.classes))
        if prediction_NK.shape != shape:
            raise InputError(f"predictions are {prediction_NK.shape}, expected (N, K) = {shape}")
        if target.shape != (shape if wide else shape[:1]):
            raise InputError(
                f"targets are {target.shape}, expected {shape if wide else shape[:1]} "
                f"for {'multi-label ' if task.multi_label else ''}{task.kind}"
            )
        if task.kind == "regression":
            check_finite(torch.from_numpy(prediction_NK))
            target = target.astype(np.float32)
        else:
            check_probabilities(torch.from_numpy(prediction_NK))
            known = range(2 if task.multi_label else len(task.classes))
            check_labels(known, torch.from_numpy(target))
            target = target.astype(np.bool_ if task.multi_label else np.int64)
        return cls(
            task=task,
            ids=tuple(ids),
            groups=None if groups is None else tuple(groups),
            prediction_NK=prediction_NK,
            target=target,
        )

    def errors(self) -> NDArray[np.float64]:
        """What every scene of a regression adds to the errors, see `error_sums`: (N, K, 5)."""
        return error_sums(self.prediction_NK[..., None], self.target[..., None])


@dataclass(frozen=True, kw_only=True, eq=False)
class PixelPredictions(Predictions):
    """Predictions of the class of pixels, summed for each chip; made by `PredictionsBuilder`.

    Args:
        confusion_NKK: Labelled pixels by true class (rows) and predicted class (columns).
        calibration_NB3: What `evaluation.calibration.bin_sums` gives for them.
    """

    confusion_NKK: NDArray[np.int64]
    calibration_NB3: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class PixelValuePredictions(Predictions):
    """Predictions of values of pixels, summed for each chip; made by `PredictionsBuilder`.

    Args:
        errors_NK5: Number of values, squared error, absolute error, mean of the target and squared
            deviation from it.
    """

    errors_NK5: NDArray[np.float64]

    def errors(self) -> NDArray[np.float64]:
        """What every chip adds to the errors: (N, K, 5)."""
        return self.errors_NK5


def load_predictions(path: Path | str) -> Predictions:
    """Read what `Predictions.save` wrote.

    Raises:
        InputError: If the file is missing, damaged, or of another version.
    """
    path = Path(path)
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = dict(stored)
        header = json.loads(str(arrays.pop("header")))
    except FileNotFoundError as error:
        raise InputError(f"{path}: there is no such file of predictions") from error
    except (OSError, ValueError, KeyError, BadZipFile, EOFError) as error:
        raise InputError(
            f"{path} is not a whole file of predictions ({error}); delete it and predict again"
        ) from error
    if header.get("format") != FORMAT:
        raise InputError(
            f"{path} has format {header.get('format')}, this version reads {FORMAT}; "
            "delete it and predict again"
        )
    task = Task(**header["task"])
    names = {name: tuple(arrays.pop(name).tolist()) for name in ("ids", "groups") if name in arrays}
    return class_of(task)(task=task, **names, **arrays)


def class_of(task: Task) -> type[Predictions]:
    """Which predictions a task has."""
    if not task.per_pixel:
        return ScenePredictions
    return PixelValuePredictions if task.kind == "regression" else PixelPredictions


class PredictionsBuilder:
    """Sums the predictions of pixels, batch by batch, so that no map has to be kept.

    Args:
        task: A task that is per pixel.
        groups: Group of every sample by its name, or None.
    """

    def __init__(self, task: Task, groups: Mapping[str, str] | None = None) -> None:
        if not task.per_pixel:
            raise InputError(f"{task.kind} of scenes has no pixels: use ScenePredictions.of")
        self.task = task
        self.groups = groups
        self.ids: list[str] = []
        self._parts: list[dict[str, NDArray[Any]]] = []

    def update(
        self, prediction_BKHW: ArrayLike | Tensor, mask: ArrayLike | Tensor, ids: Sequence[str]
    ) -> None:
        """Count one batch.

        Args:
            prediction_BKHW: Probability of every class, or value of every target.
            mask: Class numbers (B, H, W), where 255 is ignored; or values (B, K, H, W), or
                (B, H, W) of one target, where NaN is ignored.
            ids: Names of the B samples.

        Raises:
            InputError: If shapes do not fit each other and the task, a prediction is not finite or
                not a probability, or a number in the mask is not a class.
        """
        prediction_BKHW = to_tensor(prediction_BKHW).float()
        mask = to_tensor(mask).to(prediction_BKHW.device)
        is_regression = self.task.kind == "regression"
        if is_regression and mask.ndim == 3:
            mask = mask[:, None]
        batch, height, width = len(ids), *prediction_BKHW.shape[-2:]
        wanted = (batch, len(self.task.classes), height, width)
        wanted_mask = wanted if is_regression else (batch, height, width)
        if prediction_BKHW.shape != wanted or mask.shape != wanted_mask:
            raise InputError(
                f"predictions {tuple(prediction_BKHW.shape)} and masks {tuple(mask.shape)} of "
                f"{batch} samples: expected {wanted} and {wanted_mask}"
            )
        self._parts.append(
            sum_values(prediction_BKHW, mask)
            if is_regression
            else sum_classes(prediction_BKHW, mask.long())
        )
        self.ids.extend(ids)

    def build(self) -> Predictions:
        """Everything counted so far.

        Raises:
            InputError: If nothing was counted, or a sample twice.
        """
        if not self._parts:
            raise InputError("nothing was predicted: expected at least one batch")
        sums = {
            name: np.concatenate([part[name] for part in self._parts]) for name in self._parts[0]
        }
        groups = None if self.groups is None else tuple(self.groups[name] for name in self.ids)
        return class_of(self.task)(task=self.task, ids=tuple(self.ids), groups=groups, **sums)
