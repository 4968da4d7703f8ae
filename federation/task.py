"""What a node does with its chips in a round, and what it says of them; nothing here knows Flower.

Shape suffixes: C bands, K targets.
"""

import json
import logging
import math
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from numpy.typing import NDArray
from torch import Tensor

from federation.moments import get_moments, set_moments
from federation.partition import partition, see_as
from federation.settings import NodeSettings, Settings
from federation.simulated import find_data_root
from rasters import ChipDataset, measure_statistics
from rasters.statistics import BandStatistics
from sensors import Channel, InputError
from sensors.bands import channel_to_dict
from specialists.augment import Batch
from specialists.config import TrainConfig, TrainerConfig, compose_config
from specialists.data import Splits, load_splits
from specialists.data_config import ChipsConfig, DataConfig
from specialists.evaluate import evaluate
from specialists.loading import SpecialistData
from specialists.model import Specialist
from specialists.recipe import configure_adamw
from specialists.spec import SpecialistSpec
from specialists.task import SpecialistTask

Arrays = dict[str, NDArray[Any]]
"""Weights by their names in the state dict."""


@dataclass(frozen=True, eq=False)
class LocalData:
    """What a node holds.

    Args:
        config: Its data set, and the experiment's network and recipe.
        train: Chips to learn from.
        selection: Chips to judge the common weights by; None if there are none.
    """

    config: TrainConfig
    train: ChipDataset
    selection: ChipDataset | None


@dataclass(frozen=True)
class RoundPlan:
    """What a node is to do in a round.

    Args:
        number: Of the round, from 1 on.
        rounds: Of the whole run; the learning rate goes through all of them once.
        epochs: Passes over the node's chips.
        seed: Of the order of chips and of augmentation; of this node in this round alone.
        proximal_mu: Weight of FedProx's term; 0 is none.
    """

    number: int
    rounds: int
    epochs: int
    seed: int
    proximal_mu: float = 0.0


def compose_experiment(settings: Settings, node: NodeSettings | None = None) -> TrainConfig:
    """The experiment's configuration; with a node, its own data set is in it.

    Raises:
        InputError: If it cannot be composed, or a node has no folder of data.
    """
    root = find_data_root(settings, node)
    if node is not None and not root:
        raise InputError(
            "no folder of data: give node-config data-root, run-config data-root, or "
            "$TERRAGUILD_DATA"
        )
    node = node or NodeSettings()
    overrides = [*settings.hydra_overrides, f"data.root='{root}'"]
    if node.data:
        overrides.append(f"data={node.data}")
    folder = node.config_dir or settings.config_dir
    return compose_config([*overrides, *node.overrides.split()], Path(folder) if folder else None)


@lru_cache(maxsize=32)
def load_local(settings: Settings, node: NodeSettings, number: int, count: int) -> LocalData:
    """A node's chips; read once in a process.

    Args:
        settings: Of the run.
        node: Of this node.
        number: Of this node, where one data set is divided.
        count: Of the nodes that it is divided over.

    Raises:
        InputError: If there is no data, or it cannot be used or divided.
    """
    config = compose_experiment(settings, node)
    if not settings.is_divided:
        chips = load_splits(without_test(config.data)).chips
        return LocalData(config, chips["train"], chips.get("selection"))
    chips = _load_whole(settings, node).chips
    parts = partition(
        chips["train"],
        count,
        settings.partition,
        seed=settings.seed,
        alpha=settings.dirichlet_alpha,
        split=config.data.split,
    )
    train = chips["train"].subset(parts[number])
    # Held-out chips are dealt out evenly: weighted by their numbers, the nodes' scores are that of
    # the whole.
    held_out = chips["selection"].subset(range(number, len(chips["selection"]), count))
    sensor = settings.sensor_of(number)
    if sensor is not None:
        train, held_out = see_as(train, *sensor), see_as(held_out, *sensor)
    return LocalData(config, train, held_out if len(held_out) else None)


def without_test(data: DataConfig) -> DataConfig:
    """A data set of which nothing is kept for a test: the server tests, on chips of its own."""
    shares = {name: share for name, share in data.split.fractions.items() if name != "test"}
    split = replace(data.split, fractions=shares)
    return replace(data, test=ChipsConfig(), other_tests={}, split=split)


@lru_cache(maxsize=2)
def _load_whole(settings: Settings, node: NodeSettings) -> Splits:
    return load_splits(compose_experiment(settings, node).data)


def shared_names(network: Specialist, train: str) -> list[str]:
    """Names of the weights that are learned together, in the order of the state dict.

    Counters of batches, which are whole numbers, stay where they are.

    Args:
        network: The specialist.
        train: `all`, or `head`: then the backbone is frozen, and never sent.
    """
    return [
        name
        for name, tensor in network.state_dict().items()
        if tensor.is_floating_point() and (train == "all" or name.startswith("head."))
    ]


def norm_names(network: Specialist) -> list[str]:
    """Names of the weights and statistics of normalisation layers (FedBN, arXiv 2102.07623)."""
    norms = [
        name for name, part in network.named_modules() if "norm" in type(part).__name__.lower()
    ]
    return [
        name
        for name, tensor in network.state_dict().items()
        if tensor.is_floating_point() and name.rpartition(".")[0] in norms
    ]


def get_arrays(network: Specialist, names: Iterable[str]) -> Arrays:
    """Copies of some weights."""
    state = network.state_dict()
    return {name: state[name].detach().cpu().numpy().copy() for name in names}


def set_arrays(network: Specialist, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write some weights.

    Raises:
        InputError: If one of them is not the network's, or has another shape; nothing is written.
    """
    state = network.state_dict()
    for name, array in arrays.items():
        if name not in state or tuple(array.shape) != tuple(state[name].shape):
            found = tuple(state[name].shape) if name in state else "no weight of this name"
            raise InputError(f"{name} of shape {tuple(array.shape)}: the network has {found}")
    for name, array in arrays.items():
        tensor = torch.from_numpy(np.array(array))
        # Noise on the variance of a batch norm must not make it negative.
        state[name].copy_(tensor.clamp_min(0) if name.endswith("running_var") else tensor)


def fit_to(network: Specialist, data: LocalData, normalization: str) -> Specialist:
    """The network as it sees a node's bands; it shares its weights.

    Args:
        network: The common specialist.
        data: The node's.
        normalization: `local`: by this node's own statistics, which go nowhere.

    Raises:
        InputError: If the node's bands are not the network's, and its stem is for those alone.
    """
    bands, spec = data.train.bands, network.spec
    known = {
        identity(band): scaling
        for band, *scaling in zip(spec.bands, spec.mean, spec.std, strict=True)
    }
    if normalization == "shared" and all(identity(band) in known for band in bands):
        scalings = [known[identity(band)] for band in bands]
    else:
        # Its own, too, for bands that no node had when the run began.
        measured = measure_local(data)
        scalings = [list(pair) for pair in zip(measured.mean, measured.std, strict=True)]
    mean, std = zip(*scalings, strict=True)
    return network.for_bands(bands, mean, std)


def identity(band: Channel) -> str:
    """All that a band is but its name, which the bands of two sensors may share."""
    return json.dumps(channel_to_dict(band) | {"name": ""}, sort_keys=True)


@lru_cache(maxsize=32)
def measure_local(data: LocalData) -> BandStatistics:
    """Statistics of a node's training chips; measured once in a process."""
    return measure_statistics(data.train)


def train_round(
    network: Specialist,
    data: LocalData,
    plan: RoundPlan,
    train: str,
    moments: Mapping[str, NDArray[Any]] | None = None,
) -> tuple[float, Arrays]:
    """Train a network on a node's chips for one round.

    The learning rate is that of one long training which the rounds are parts of.

    Args:
        network: As `fit_to` gives it, with the common weights; it learns.
        data: The node's.
        plan: What to do.
        train: Which weights learn, see `shared_names`.
        moments: What the node's optimizer remembers of its last round, see `federation.moments`.

    Returns:
        Mean training loss of the last pass, and what the optimizer remembers now.

    Raises:
        InputError: If the recipe cannot be followed here.
    """
    recipe, shared = data.config.trainer, set(shared_names(network, train))
    if recipe.class_weights != "none":
        raise InputError(
            f"trainer.class_weights={recipe.class_weights} needs the labels of all nodes counted, "
            "and no node says what it holds; give trainer.class_weights=none"
        )
    for name, weight in network.named_parameters():
        weight.requires_grad_(name in shared)
    L.seed_everything(plan.seed, verbose=False)
    task = _RoundTask(network, recipe, plan, moments or {})
    chips = Splits({"train": data.train})
    loader = SpecialistData(
        chips, batch_size=recipe.batch_size, seed=plan.seed, workers=data.config.data.workers
    )
    trainer = _build_trainer(recipe, plan.epochs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.fit(task, datamodule=loader)
    network.cpu()
    loss = float(trainer.callback_metrics["train_loss"])
    return loss, get_moments(trainer.optimizers[0], network)


class _RoundTask(SpecialistTask[Specialist]):
    """Training that is near the common weights, and goes on where the last round's schedule was."""

    def __init__(
        self,
        network: Specialist,
        recipe: TrainerConfig,
        plan: RoundPlan,
        moments: Mapping[str, NDArray[Any]],
    ) -> None:
        super().__init__(network, recipe)
        self.plan, self.moments = plan, moments
        self.common = {
            name: weight.detach().clone()
            for name, weight in network.named_parameters()
            if plan.proximal_mu and weight.requires_grad
        }

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Loss of one batch, and how far the weights are from the common ones (FedProx)."""
        loss = super().training_step(batch, batch_idx)
        if not self.common:
            return loss
        # arXiv 1812.06127, equation 2.
        away = [
            (weight - self.common[name].to(weight.device)).square().sum()
            for name, weight in self.specialist.named_parameters()
            if name in self.common
        ]
        return loss + self.plan.proximal_mu / 2 * torch.stack(away).sum()

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW, with this round's part of the whole run's learning rates."""
        steps = int(self.trainer.estimated_stepping_batches)
        made: Any = configure_adamw(self, self.learning, steps * self.plan.rounds, self.betas)
        for _ in range(steps * (self.plan.number - 1)):
            made["lr_scheduler"]["scheduler"].step()
        set_moments(made["optimizer"], self.specialist, self.moments)
        return made  # type: ignore[no-any-return]


def _build_trainer(recipe: TrainerConfig, epochs: int) -> L.Trainer:
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    uses_cuda = torch.cuda.is_available() and recipe.accelerator in ("auto", "gpu", "cuda")
    return L.Trainer(
        accelerator=recipe.accelerator,
        devices=1,
        precision="bf16-mixed" if recipe.amp and uses_cuda else "32-true",
        deterministic=recipe.deterministic,
        max_epochs=epochs,
        gradient_clip_val=recipe.gradient_clip or None,
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )


def score(network: Specialist, chips: ChipDataset | None) -> dict[str, float]:
    """Scores of a network on chips, those that are single finite numbers; none without chips."""
    if chips is None:
        return {}
    found = evaluate(network, chips)
    return {
        name: float(value)
        for name, value in found.items()
        if isinstance(value, int | float) and math.isfinite(value)
    }


def describe_difference(spec: SpecialistSpec, chips: ChipDataset) -> str | None:
    """What makes a node's chips unfit for the common task, or None."""
    theirs = (chips.task, chips.multi_label, tuple(chips.classes))
    if theirs == (spec.task, spec.multi_label, spec.classes):
        return None
    return (
        f"its data are for {chips.task} of {', '.join(chips.classes)}, and the run is for "
        f"{spec.task} of {', '.join(spec.classes)}; name the classes in this order with "
        "data.classes"
    )
