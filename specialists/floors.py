"""What a specialist has to beat: the majority, and a linear model on image statistics.

Both are fitted on the training split and scored on the same split as the specialist, by the same
metrics. A scene is described by mean, deviation and the 10th, 50th and 90th percentile of each
band; a pixel by its bands.

Shape suffixes: C bands, H height, W width, K classes or targets, N samples, F features.
"""

import warnings
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from rasters import IGNORE_INDEX, ChipDataset
from rasters.progress import show_progress
from specialists.metrics import Scores, TaskMetrics
from specialists.task_spec import TaskSpec

PERCENTILES = (10, 50, 90)
MAX_PIXELS = 100_000
"""Training pixels the linear model of a per-pixel task is fitted on."""

Samples = tuple[NDArray[np.float32], NDArray[Any]]


def measure_floors(
    spec: TaskSpec, train: ChipDataset, evaluation: dict[str, ChipDataset], seed: int = 0
) -> dict[str, dict[str, Scores]]:
    """Fit the floors on the training split and score them on others.

    Args:
        spec: Task, bands and classes.
        train: Training chips.
        evaluation: The splits to score on.
        seed: Which pixels are drawn, where there are more than `MAX_PIXELS`.

    Returns:
        For each floor, `majority` and `linear_statistics`, the scores on each split.
    """
    generator = np.random.default_rng(seed)
    # As many of every chip, so that no place is left out.
    share = max(1, MAX_PIXELS // len(train))
    majority, parts = _Constant(spec), []
    for samples in _samples_of(spec, train, "Image statistics (train)"):
        majority.learn(samples[1])
        parts.append(_thin(samples, share, generator))
    linear = _Linear(spec, *_concatenate(parts))
    floors: dict[str, _Constant | _Linear] = {"majority": majority, "linear_statistics": linear}
    scores: dict[str, dict[str, Scores]] = {name: {} for name in floors}
    for split, chips in evaluation.items():
        metrics = {name: TaskMetrics(spec) for name in floors}
        for features_NF, targets_N in _batches(_samples_of(spec, chips, f"Floors ({split})")):
            for name, floor in floors.items():
                prediction_NK = torch.from_numpy(floor.predict(features_NF))
                metrics[name].update(prediction_NK, torch.from_numpy(targets_N))
        for name in floors:
            scores[name][split] = metrics[name].compute()
    return scores


class _Constant:
    """Says the same of everything: the most frequent class, or the mean."""

    def __init__(self, spec: TaskSpec) -> None:
        self.takes_mean = spec.task == "regression" or spec.multi_label
        self.total_K = np.zeros(len(spec.classes))
        self.count = 0

    def learn(self, targets_N: NDArray[Any]) -> None:
        self.count += len(targets_N)
        if self.takes_mean:
            self.total_K += targets_N.sum(0)
        else:
            self.total_K += np.bincount(targets_N, minlength=len(self.total_K))

    def predict(self, features_NF: NDArray[np.float32]) -> NDArray[np.float32]:
        is_most_K = self.total_K == self.total_K.max()
        value_K = self.total_K / self.count if self.takes_mean else is_most_K
        return np.repeat(value_K[None].astype(np.float32), len(features_NF), axis=0)


class _Linear:
    """Logistic regression (one against the rest for multi-label), or ridge regression."""

    def __init__(
        self, spec: TaskSpec, features_NF: NDArray[np.float32], targets_N: NDArray[Any]
    ) -> None:
        self.is_regression = spec.task == "regression"
        self.count = len(spec.classes)
        model: Any = Ridge() if self.is_regression else LogisticRegression(max_iter=1000)
        if spec.multi_label:
            model = OneVsRestClassifier(model)
        # A band without a valid pixel has no statistics: it gets the mean of the others' chips.
        self.pipeline: Pipeline = make_pipeline(
            SimpleImputer(keep_empty_features=True), StandardScaler(), model
        )
        with warnings.catch_warnings():
            # A class that no scene has, or every one: constant, and nothing to warn of.
            warnings.filterwarnings("ignore", "Label (not )?[0-9]+ is present in all", UserWarning)
            self.pipeline.fit(features_NF, targets_N)

    def predict(self, features_NF: NDArray[np.float32]) -> NDArray[np.float32]:
        if self.is_regression:
            values: NDArray[np.float32] = self.pipeline.predict(features_NF).astype(np.float32)
            return np.reshape(values, (-1, self.count))
        prediction_NK = np.zeros((len(features_NF), self.count), np.float32)
        prediction_NK[:, self.pipeline.classes_] = self.pipeline.predict_proba(features_NF)
        return prediction_NK


def image_statistics(
    image_CHW: NDArray[np.float32], valid_CHW: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Mean, deviation and percentiles of each band's valid pixels, (5 C,); NaN where none is."""
    return np.concatenate(
        [
            np.array([pixels.mean(), pixels.std(), *np.percentile(pixels, PERCENTILES)], np.float32)
            if pixels.size
            else np.full(2 + len(PERCENTILES), np.nan, np.float32)
            for pixels in (band[valid] for band, valid in zip(image_CHW, valid_CHW, strict=True))
        ]
    )


def _samples(spec: TaskSpec, chip: dict[str, Any]) -> Samples:
    """Features (N, F) and targets (N,) or (N, K) of what is labelled in one chip."""
    image_CHW, valid_CHW = chip["image"].numpy(), chip["valid"].numpy()
    if "mask" not in chip:
        target = np.asarray(chip["label"])[None]
        if spec.multi_label:
            target = target.astype(np.int64)
        known_N = np.isfinite(target).reshape(1, -1).all(1)
        features_NF = image_statistics(image_CHW, valid_CHW)[None]
        return features_NF[known_N], target[known_N]
    targets_N: NDArray[Any] = chip["mask"].numpy()
    if spec.task == "semantic-segmentation":
        targets_N = targets_N.reshape(-1)
        known_N = targets_N != IGNORE_INDEX
    else:
        targets_N = targets_N.reshape(len(spec.classes), -1).T
        known_N = np.isfinite(targets_N).all(1)
    pixels_NC = np.where(valid_CHW, image_CHW, np.nan).reshape(len(image_CHW), -1).T
    return pixels_NC[known_N], targets_N[known_N]


def _samples_of(spec: TaskSpec, chips: ChipDataset, title: str) -> Iterator[Samples]:
    for number in show_progress(range(len(chips)), title):
        yield _samples(spec, chips[number])


def _thin(samples: Samples, most: int, generator: np.random.Generator) -> Samples:
    """Some of the samples by chance, and at least one of each class."""
    features_NF, targets_N = samples
    if len(targets_N) <= most:
        return samples
    order_N = generator.permutation(len(targets_N))
    chosen_N = order_N[:most]
    if targets_N.ndim == 1:
        _, first_K = np.unique(targets_N[order_N], return_index=True)
        chosen_N = np.union1d(chosen_N, order_N[first_K])
    return features_NF[chosen_N], targets_N[chosen_N]


def _batches(samples: Iterable[Samples], size: int = 2**16) -> Iterator[Samples]:
    """Samples of many chips at once, because every call of a model or metric costs time."""
    kept: list[Samples] = []
    rows = 0
    for part in samples:
        kept.append(part)
        rows += len(part[1])
        if rows >= size:
            yield _concatenate(kept)
            kept, rows = [], 0
    if rows:
        yield _concatenate(kept)


def _concatenate(parts: list[Samples]) -> Samples:
    return np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])
