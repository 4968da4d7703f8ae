"""Probes: what is fitted on frozen features to tell what they are worth.

Shape suffixes: B batch, N samples, D features, K classes or targets, H height, W width.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from evaluation.features import Features
from evaluation.knn import KNNModel
from evaluation.linear import LinearModel, Samples
from evaluation.pixels import PixelProbe, fit_pixel_probe
from evaluation.tasks import Task
from sensors import InputError


@dataclass
class ProbeConfig:
    """A probe; which entries count depends on its `kind`.

    Args:
        kind: `knn` or `linear` for scenes, `pixel-linear` or `pixel-decoder` for pixels.
        pooling: Of scenes: `pyramid` (mean and deviation of every level) or `last` (mean of the
            coarsest level). Of an encoder with an image vector of its own, that is taken.
        k: `knn`: number of neighbours.
        distance: `knn`: `cosine` or `euclidean`.
        penalties, folds: `linear`, see `LinearModel`.
        learning_rates, epochs, min_steps, batch_size: Of pixels, see `fit_pixel_probe`.
    """

    kind: str
    pooling: str = "pyramid"
    k: int = 5
    distance: str = "cosine"
    penalties: list[float] = field(default_factory=lambda: [10.0**n for n in range(-2, 6)])
    folds: int = 5
    learning_rates: list[float] = field(default_factory=lambda: [1e-3, 1e-2])
    epochs: int = 20
    min_steps: int = 200
    batch_size: int = 16


class SceneModel(Protocol):
    """A fitted model on pooled features."""

    hyperparameters: dict[str, Any]

    def predict(self, features_ND: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probabilities or values, (N, K)."""
        ...


class SceneProbe:
    """A fitted model, and which features it reads.

    Attributes:
        hyperparameters: What the fit was given, and what it chose.
    """

    def __init__(self, model: SceneModel, pooling: str) -> None:
        self._model = model
        self._pooling = pooling
        self.hyperparameters = {"pooling": pooling, **model.hyperparameters}

    def predict(self, features: Features) -> NDArray[np.float32]:
        """Probabilities of every class, or values, (N, K).

        Raises:
            InputError: If a feature is not finite.
        """
        return self._model.predict(_pool(features, self._pooling))


FittedProbe = SceneProbe | PixelProbe


def serves(config: ProbeConfig, task: Task) -> bool:
    """Whether a probe is one for this task: of scenes, or of pixels.

    Raises:
        InputError: If the probe is unknown.
    """
    if config.kind not in PROBES:
        raise InputError(f"probe.kind {config.kind!r} is not one of {', '.join(PROBES)}")
    return (config.kind in _PIXEL_HEADS) == task.per_pixel


def fit_probe(
    config: ProbeConfig,
    task: Task,
    train: Features,
    selection: Features | None = None,
    *,
    seed: int = 0,
    device: str | torch.device = "cpu",
) -> FittedProbe:
    """Fit a probe on frozen features.

    Scenes of a regression whose target is not known (NaN) are left out.

    Args:
        config: The probe.
        task: What the targets are.
        train: Features of the training split; dense for pixels.
        selection: The same of the selection split, by which penalties, learning rates and epochs
            are chosen.
        seed: Of everything that is drawn.
        device: To train on; the models of scenes are fitted on the CPU.

    Returns:
        A `SceneProbe` or, for a per-pixel task, a `PixelProbe`.

    Raises:
        InputError: If the probe is unknown or does not serve the task, features are not finite,
            there are too few samples, or all samples are of one class.
    """
    if not serves(config, task):
        raise InputError(
            f"probe.kind={config.kind} does not serve a {task.kind}"
            f"{' of pixels' if task.per_pixel else ''}: take one of "
            f"{', '.join(_PIXEL_HEADS if task.per_pixel else _SCENE_MODELS)}"
        )
    if task.per_pixel:
        return fit_pixel_probe(
            task,
            train,
            selection,
            head=_PIXEL_HEADS[config.kind],
            learning_rates=config.learning_rates,
            epochs=config.epochs,
            min_steps=config.min_steps,
            batch_size=config.batch_size,
            seed=seed,
            device=device,
        )
    samples = _samples(task, train, config.pooling)
    _check_variety(task, samples[1])
    held_out = None if selection is None else _samples(task, selection, config.pooling)
    model = _SCENE_MODELS[config.kind](config, task, samples, held_out, seed)
    return SceneProbe(model, config.pooling)


def _fit_knn(
    config: ProbeConfig, task: Task, train: Samples, selection: Samples | None, seed: int
) -> SceneModel:
    return KNNModel(task, *train, k=config.k, distance=config.distance)


def _fit_linear(
    config: ProbeConfig, task: Task, train: Samples, selection: Samples | None, seed: int
) -> SceneModel:
    return LinearModel(
        task, train, selection, penalties=config.penalties, folds=config.folds, seed=seed
    )


_SCENE_MODELS: dict[
    str, Callable[[ProbeConfig, Task, Samples, Samples | None, int], SceneModel]
] = {"knn": _fit_knn, "linear": _fit_linear}
_PIXEL_HEADS = {"pixel-linear": "linear", "pixel-decoder": "decoder"}
PROBES = (*_SCENE_MODELS, *_PIXEL_HEADS)
"""Every kind of probe there is."""


def _samples(task: Task, features: Features, pooling: str) -> Samples:
    """Pooled features and targets of the scenes whose target is known."""
    pooled_ND = _pool(features, pooling)
    targets = np.asarray(features.targets)
    if task.kind == "regression":
        targets = targets.reshape(len(targets), len(task.classes))
        known_N = np.isfinite(targets).all(axis=1)
        return pooled_ND[known_N], targets[known_N]
    return pooled_ND, targets.astype(np.int64)


def _pool(features: Features, pooling: str) -> NDArray[np.float32]:
    pooled_ND = features.pool(pooling)
    bad = np.flatnonzero(~np.isfinite(pooled_ND).all(axis=1))
    if len(bad):
        raise InputError(
            f"{len(bad)} of {len(features)} images have features that are not finite, the first is "
            f"{features.ids[bad[0]]}"
        )
    return pooled_ND


def _check_variety(task: Task, targets: NDArray[Any]) -> None:
    """Refuse targets that are all the same."""
    if len(targets) == 0:
        raise InputError("no training sample has a known target")
    if (targets == targets[0]).all():
        one = f"class {task.classes[targets[0]]}" if targets.ndim == 1 else "the same target"
        raise InputError(
            f"all {len(targets)} training samples are of {one}: there is nothing to tell apart"
        )
