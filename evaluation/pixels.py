"""Pixel probes: a small head trained on frozen feature maps.

Shape suffixes: B batch, K classes or targets, H height, W width.
"""

import copy
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from evaluation._levels import (
    Batch,
    batches_in_order,
    level_moments,
    level_shapes,
    load_batch,
    shuffled_batches,
)
from evaluation._pixel_answers import PixelAnswers, pixel_answers
from evaluation._pixel_heads import PixelNetwork
from evaluation._selection import main_score, worth
from evaluation.features import Features
from evaluation.predictions import PredictionsBuilder
from evaluation.tasks import Task
from sensors import InputError


class PixelProbe:
    """A fitted head, made by `fit_pixel_probe`.

    Attributes:
        hyperparameters: The chosen `learning_rate` and `epoch`, the `steps` of an epoch, and
            `sweep`, the best main metric of every learning rate on the selection split.
    """

    def __init__(
        self, task: Task, network: PixelNetwork, answers: PixelAnswers, batch_size: int
    ) -> None:
        self._task = task
        self._network = network
        self._answers = answers
        self._batch_size = batch_size
        self.hyperparameters: dict[str, Any] = {}

    @torch.no_grad()
    def predict(self, features: Features) -> Iterator[tuple[NDArray[np.int64], NDArray[Any]]]:
        """Chip numbers (B,) and float32 probabilities or values (B, K, H, W), batch by batch.

        Raises:
            InputError: If the features hold no levels.
        """
        level_shapes(features)
        device = next(self._network.parameters()).device
        for chosen_B in batches_in_order(len(features), self._batch_size):
            levels, target = load_batch(features, chosen_B, device)
            answers_BKHW = self._answers.finish(self._network(levels, target.shape[-2:]))
            yield chosen_B, answers_BKHW.cpu().numpy()

    def score(self, features: Features) -> float:
        """The main metric on labelled features."""
        builder = PredictionsBuilder(self._task)
        for chosen_B, answers_BKHW in self.predict(features):
            ids = [features.ids[number] for number in chosen_B]
            builder.update(answers_BKHW, features.targets[chosen_B], ids)
        return main_score(builder.build())


@dataclass(frozen=True)
class _Snapshot:
    """A head after an epoch, with its main metric on the selection split, if there is one."""

    network: PixelNetwork
    learning_rate: float
    epoch: int
    score: float | None


def fit_pixel_probe(
    task: Task,
    train: Features,
    selection: Features | None,
    *,
    head: str,
    learning_rates: Sequence[float],
    epochs: int,
    min_steps: int,
    batch_size: int,
    seed: int = 0,
    device: str | torch.device = "cpu",
) -> PixelProbe:
    """Train a head on the levels of a frozen pyramid.

    `linear` is a 1 x 1 convolution of all levels, upsampled to the finest; `decoder` an FPN of
    segmentation-models-pytorch, or, where the levels are not four halving ones, a 3 x 3 convolution
    between two of 1 x 1. Levels are standardised by the training chips, answers are upsampled to
    the mask. AdamW under a cosine schedule; cross entropy, or the squared error of standardised
    values. Of all learning rates and epochs the one with the best main metric on the selection
    split is kept. On a CPU the same seed gives the same probe.

    Args:
        task: A per-pixel task.
        train: Dense features of the training chips.
        selection: The same of the selection split; without it, the last epoch is kept.
        head: `linear` or `decoder`.
        learning_rates: To try, each in a training of its own.
        epochs: Passes over the training chips.
        min_steps: Least number of steps in all: an epoch over few chips goes over them again, so
            that few labels do not mean little training.
        batch_size: Chips a step.
        seed: Of the weights and of the order of chips.
        device: To train and predict on.

    Raises:
        InputError: If features are not dense or not finite, there are several learning rates and no
            selection split, fewer than two classes are labelled, a value does not vary, or a
            number of epochs or chips is below 1.
    """
    if not learning_rates or (selection is None and len(learning_rates) > 1):
        raise InputError(
            f"probe.learning_rates={list(learning_rates)}: expected at least one, and no more than "
            "one without a selection split to choose by"
        )
    if epochs < 1 or batch_size < 1:
        raise InputError(
            f"probe.epochs={epochs} and probe.batch_size={batch_size}: expected 1 or more of both"
        )
    shapes = level_shapes(train)
    answers = pixel_answers(task, train.targets)
    moments = level_moments(train, batch_size)
    steps = max(math.ceil(len(train) / batch_size), math.ceil(min_steps / epochs))

    def rank(snapshot: _Snapshot) -> float:
        return snapshot.epoch if snapshot.score is None else worth(task, snapshot.score)

    best = []
    for learning_rate in learning_rates:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            network = PixelNetwork(head, shapes, moments, len(task.classes), train.covered).to(
                device
            )
        probe = PixelProbe(task, network, answers, batch_size)
        order = shuffled_batches(len(train), batch_size, seed)
        batches = (load_batch(train, chosen_B, device) for chosen_B in order)
        snapshots = (
            _Snapshot(
                copy.deepcopy(network),
                learning_rate,
                epoch,
                None if selection is None else probe.score(selection),
            )
            for epoch in _train(network, answers, batches, learning_rate, epochs, steps)
        )
        best.append(max(snapshots, key=rank))
    chosen = max(best, key=rank)
    probe = PixelProbe(task, chosen.network, answers, batch_size)
    probe.hyperparameters = {
        "learning_rate": chosen.learning_rate,
        "epoch": chosen.epoch,
        "steps": steps,
        "sweep": {f"{snapshot.learning_rate:g}": snapshot.score for snapshot in best},
    }
    return probe


def _train(
    network: PixelNetwork,
    answers: PixelAnswers,
    batches: Iterator[Batch],
    learning_rate: float,
    epochs: int,
    steps: int,
) -> Iterator[int]:
    """Train, and stop after every epoch for whoever wants to look."""
    optimizer = torch.optim.AdamW(network.parameters(), lr=learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * steps)
    for epoch in range(1, epochs + 1):
        for _ in range(steps):
            levels, target = next(batches)
            loss = answers.loss(network(levels, target.shape[-2:]), target)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()
        yield epoch
