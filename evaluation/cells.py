"""One cell of an evaluation: an encoder on a data set by a protocol with a seed.

Shape suffixes: B batch, C bands, N samples, K classes or targets, H height, W width.
"""

import hashlib
import json
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from evaluation.config import ProtocolConfig, to_plain
from evaluation.dataset import SPLITS, EvaluationData
from evaluation.encoders import LoadedEncoder
from evaluation.features import Features, Transform, extract_features
from evaluation.labels import few_labels
from evaluation.majority import Majority
from evaluation.partition import deal
from evaluation.predictions import Predictions, PredictionsBuilder, ScenePredictions
from evaluation.probes import FittedProbe, fit_probe
from evaluation.probes import serves as serves_task
from evaluation.tasks import Task
from rasters import ChipDataset
from rasters.sensing import sensor_channels
from sensors import Band, Channel, InputError, MissingBandsError

Probe = FittedProbe | Majority

MIN_GROUPS = 10
"""Test groups below which an interval is drawn from samples: of few groups it would say nothing."""


@dataclass(frozen=True)
class Extraction:
    """How features are made, the same for every cell.

    Args:
        cache: Folder of features.
        image_size: Resize images to this edge, or None.
        batch_size: Images at once.
        device: Torch's name of it; `auto` becomes `cuda` where there is one.
        workers: Processes that read chips.
    """

    cache: Path
    image_size: int | None = None
    batch_size: int = 64
    device: str = "cpu"
    workers: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "device", find_device(self.device))


def find_device(name: str) -> str:
    """Torch's name of a device; `auto` becomes `cuda` where there is one."""
    if name != "auto":
        return name
    return "cuda" if torch.cuda.is_available() else "cpu"


@dataclass(frozen=True)
class Outcome:
    """What came of a cell.

    Args:
        predictions: For every test sample.
        hyperparameters: What the probe chose.
        counts: Samples it was fitted on, selected on and tested on.
        maps: Predicted classes of some test chips, by id, for per-pixel classes.
        gate: Mean weight of each member over the test images, for ensembles.
    """

    predictions: Predictions
    hyperparameters: Mapping[str, Any]
    counts: Mapping[str, int]
    maps: Mapping[str, NDArray[np.uint8]] = field(default_factory=dict)
    gate: Mapping[str, float] | None = None


@dataclass(frozen=True)
class Subject:
    """An encoder on a data set.

    Args:
        encoder: The encoder.
        data: The data set.
        others: Data sets that protocols test on instead, by name.
        extraction: How features are made.
    """

    encoder: LoadedEncoder
    data: EvaluationData
    others: Mapping[str, EvaluationData]
    extraction: Extraction

    def key(self, protocol: ProtocolConfig, seed: int) -> str:
        """SHA-256 of everything that decides a cell."""
        plain = to_plain(protocol)
        decisive = {name: plain[name] for name in plain if name not in ("title", "description")}
        other = self.others[protocol.test_data].digest if protocol.test_data else None
        parts = {
            "encoder": self.encoder.digest,
            "data": self.data.digest,
            "other": other,
            "protocol": decisive,
            "image_size": self.extraction.image_size,
            "seed": seed,
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def own_features(self) -> dict[str, Features]:
        """Features of every split, as the data set brings them."""
        transform = Transform(image_size=self.extraction.image_size)
        return {
            split: self._extract(self.data, split, transform, self.data.groups(split))
            for split in SPLITS
        }

    def changed_test(self, protocol: ProtocolConfig) -> Features | None:
        """Features of the test images that a protocol wants in place of the data set's own."""
        transform = Transform(image_size=self.extraction.image_size, fill_missing=True)
        if protocol.test_data is not None:
            other = self.others[protocol.test_data]
            features = self._extract(other, "test", transform, other.groups("test"))
            return replace(
                features, targets=translate(features.targets, other.task, self.data.task)
            )
        bands = self.data.chips["test"].bands
        dropped = dropped_bands(protocol, bands)
        if len(dropped) == len(bands):
            raise InputError(f"the protocol drops every band of data {self.data.name}")
        if not dropped and protocol.test_sensor is None:
            return None
        transform = replace(transform, drop_bands=dropped, as_sensor=protocol.test_sensor)
        return self._extract(self.data, "test", transform, self.data.groups("test"))

    def _extract(
        self,
        data: EvaluationData,
        split: str,
        transform: Transform,
        groups: tuple[str, ...] | None,
    ) -> Features:
        chips: ChipDataset = data.chips[split]
        features = extract_features(
            self.encoder,
            chips,
            cache=self.extraction.cache,
            dense=data.task.per_pixel,
            transform=transform,
            batch_size=self.extraction.batch_size,
            device=self.extraction.device,
            workers=self.extraction.workers,
        )
        return replace(features, groups=groups)


def serves(protocol: ProtocolConfig, data: EvaluationData) -> bool:
    """Whether a protocol has something to say of a data set."""
    if not serves_task(protocol.probe, data.task):
        return False
    bands = data.chips["test"].bands
    if protocol.drop_bands or protocol.drop_wavelengths is not None:
        return bool(dropped_bands(protocol, bands))
    if protocol.test_sensor is not None:
        try:
            sensor_channels(bands, protocol.test_sensor)
        except MissingBandsError:
            return False
    return protocol.test_data != data.name


def depends_on_seed(protocol: ProtocolConfig) -> bool:
    """Whether another seed gives other numbers, for an encoder that is not random."""
    return protocol.label_fraction < 1 or protocol.probe.kind.startswith("pixel-")


def is_plain(protocol: ProtocolConfig) -> bool:
    """Whether a protocol tests on the data set's own test images, as they are, with all labels."""
    changes = (
        protocol.drop_bands,
        protocol.drop_wavelengths,
        protocol.test_sensor,
        protocol.test_data,
    )
    return protocol.split == "own" and protocol.label_fraction == 1 and not any(changes)


def evaluate_cell(
    subject: Subject,
    protocol: ProtocolConfig,
    parts: Mapping[str, Features],
    *,
    seed: int,
    fitted: MutableMapping[str, Probe],
    examples: int = 0,
) -> Outcome:
    """Fit the protocol's probe and say what it predicts of every test sample.

    Args:
        subject: Encoder and data set.
        protocol: The protocol.
        parts: `subject.own_features()`.
        seed: Of the label subset and the probe.
        fitted: Probes of this subject by what decides them: protocols that differ in their test
            images alone share one.
        examples: Number of test chips whose predicted maps are kept.

    Raises:
        InputError: If the probe cannot be fitted or tested: too few samples, one class, no band.
    """
    data = subject.data
    dealt = deal(parts, data, protocol)
    changed = subject.changed_test(protocol)
    train, selection, test = dealt["train"], dealt["selection"], changed or dealt["test"]
    if protocol.label_fraction < 1:
        train = train.take(few_labels(train.targets, protocol.label_fraction, seed))
        selection = selection.take(few_labels(selection.targets, protocol.label_fraction, seed))
    key = _probe_key(protocol, seed)
    if key not in fitted:
        fitted[key] = _fit(subject, protocol, train, selection, seed)
    probe = fitted[key]
    shown = _most_varied(test, examples) if data.task.kind == "semantic-segmentation" else []
    predictions, maps = _predict(probe, data.task, test, shown)
    gate = None
    if test.gate is not None:
        gate = {member: float(weight_N.mean()) for member, weight_N in test.gate.items()}
    counts = {"train": len(train.ids), "selection": len(selection.ids), "test": len(test.ids)}
    return Outcome(predictions, probe.hyperparameters, counts, maps, gate)


def _probe_key(protocol: ProtocolConfig, seed: int) -> str:
    names = ("probe", "label_fraction", "split", "block_size")
    plain = to_plain(protocol)
    return json.dumps([seed, *(plain[name] for name in names)], sort_keys=True)


def _fit(
    subject: Subject, protocol: ProtocolConfig, train: Features, selection: Features, seed: int
) -> Probe:
    task = subject.data.task
    if subject.encoder.kind == "majority":
        return Majority(task, train.targets)
    return fit_probe(
        protocol.probe, task, train, selection, seed=seed, device=subject.extraction.device
    )


def dropped_bands(protocol: ProtocolConfig, bands: tuple[Channel, ...]) -> tuple[str, ...]:
    """Names of the bands that a protocol takes from the test images."""
    names = set(protocol.drop_bands)
    if protocol.drop_wavelengths is not None:
        low, high = protocol.drop_wavelengths
        names |= {
            band.name
            for band in bands
            if isinstance(band, Band) and low <= band.center_wavelength <= high
        }
    return tuple(band.name for band in bands if band.name in names)


def translate(targets: NDArray[Any], other: Task, own: Task) -> NDArray[Any]:
    """Class numbers of another data set as those of this one, by the names of the classes.

    Raises:
        InputError: If it has another kind of task, or classes that this one has not.
    """
    if (other.kind, other.multi_label) != (own.kind, own.multi_label):
        raise InputError(f"test_data is for {other.kind}, and the probe for {own.kind}")
    foreign = sorted(set(other.classes) - set(own.classes))
    if foreign:
        raise InputError(
            f"test_data has the classes {', '.join(foreign)}, which the probe was not fitted for; "
            f"it knows {', '.join(own.classes)}"
        )
    position = [own.classes.index(name) for name in other.classes]
    if own.kind == "regression" or own.multi_label:
        if len(position) < len(own.classes) and own.kind == "regression":
            raise InputError(f"test_data lacks targets: expected {', '.join(own.classes)}")
        moved = np.zeros((len(targets), len(own.classes), *targets.shape[2:]), targets.dtype)
        moved[:, position] = targets
        return moved
    table = np.arange(256)
    table[: len(position)] = position
    numbers: NDArray[Any] = table[targets]
    return numbers


def _predict(
    probe: Probe, task: Task, test: Features, shown: list[int]
) -> tuple[Predictions, dict[str, NDArray[np.uint8]]]:
    groups = test.groups
    if groups is not None and len(set(groups)) < MIN_GROUPS:
        groups = None
    if not task.per_pixel:
        answer_NK: Any = probe.predict(test)
        return ScenePredictions.of(task, test.ids, answer_NK, np.array(test.targets), groups), {}
    builder = PredictionsBuilder(
        task, None if groups is None else dict(zip(test.ids, groups, strict=True))
    )
    maps: dict[str, NDArray[np.uint8]] = {}
    answers: Any = probe.predict(test)
    for index_B, answer_BKHW in answers:
        ids = [test.ids[index] for index in index_B]
        builder.update(answer_BKHW, test.targets[index_B], ids)
        for position, index in enumerate(index_B):
            if index in shown:
                maps[test.ids[index]] = answer_BKHW[position].argmax(axis=0).astype(np.uint8)
    return builder.build(), maps


def _most_varied(test: Features, count: int) -> list[int]:
    """The test chips with the most classes, in their own order."""
    variety = [len(np.unique(mask_HW)) for mask_HW in test.targets]
    order = sorted(range(len(variety)), key=lambda index: -variety[index])
    return sorted(order[:count])
