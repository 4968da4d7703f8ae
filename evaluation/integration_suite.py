"""The frozen suite of tasks, and what an ensemble is worth on each of them."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluation.cells import Extraction, Subject, depends_on_seed, serves
from evaluation.config import ProtocolConfig, load_protocol
from evaluation.dataset import EvaluationData, load_data
from evaluation.encoders import EncoderConfig, LoadedEncoder, load_encoder
from evaluation.filling import Parts, describe_protocol, describe_subject, fill_cell, find_cell
from evaluation.folder import ResultsFolder
from evaluation.integration_config import IntegrateConfig
from evaluation.integration_rules import Gain
from evaluation.intervals import Resampled, resample
from evaluation.predictions import load_predictions
from evaluation.tasks import Task, main_metric
from rasters.progress import show_progress
from sensors import InputError
from specialists.named_data import load_data_config


@dataclass(frozen=True)
class SuiteTask:
    """A task of the suite.

    Args:
        data: Its chips and their splits.
        protocol_name: What the protocol is called.
        protocol: How it is measured.
    """

    data: EvaluationData
    protocol_name: str
    protocol: ProtocolConfig

    @property
    def name(self) -> str:
        """What tables call it."""
        return f"{self.data.name}/{self.protocol_name}"


@dataclass(frozen=True)
class Measured:
    """What an ensemble is worth on the suite.

    Args:
        scores: Of each task, in every resample.
        gate: Mean weight of each member, over the tasks.
        unanswered: Tasks for which no feature could be had, and why; they are scored by the
            majority of the training labels.
    """

    scores: Mapping[str, Resampled]
    gate: Mapping[str, float]
    unanswered: Mapping[str, str]


@dataclass(frozen=True)
class Suite:
    """The frozen tasks, and where their results are kept.

    Args:
        tasks: In order.
        others: Data sets that protocols test on instead, by name.
        folder: Of results; what is finished in it is not done again.
        config: How it is measured.
    """

    tasks: Sequence[SuiteTask]
    others: Mapping[str, EvaluationData]
    folder: ResultsFolder
    config: IntegrateConfig

    def measure(self, encoder: LoadedEncoder) -> Measured:
        """Score an ensemble on every task.

        Raises:
            InputError: If a task cannot be measured at all.
        """
        scores, gates, unanswered = {}, [], {}
        parts: dict[str, Parts] = {}
        title = f"Tasks of {encoder.name}"
        for task in show_progress(self.tasks, title):
            if task.data.name not in parts:
                subject = self._subject(encoder, task)
                parts = {task.data.name: Parts(subject)}
                describe_subject(self.folder, subject)
            records = self._fill(parts[task.data.name], task)
            if records[0]["status"] == "empty":
                unanswered[task.name] = records[0]["reason"]
                records = self._answer_nothing(task)
            elif records[0]["gate"] is not None:
                gates.append(records[0]["gate"])
            predictions = [load_predictions(record["predictions"]) for record in records]
            metric = _metric(predictions[0].task)
            scores[task.name] = resample(predictions, [metric], resamples=self.config.resamples)
            task.data.forget()
        return Measured(scores, _mean(gates), unanswered)

    def _answer_nothing(self, task: SuiteTask) -> list[dict[str, Any]]:
        """What can be said without any feature: the majority, or mean, of the training labels."""
        majority = load_encoder(EncoderConfig("majority"), task.data.context)
        records = self._fill(Parts(self._subject(majority, task)), task)
        if records[0]["status"] == "empty":
            raise InputError(f"suite task {task.name} cannot be measured: {records[0]['reason']}")
        return records

    def _subject(self, encoder: LoadedEncoder, task: SuiteTask) -> Subject:
        config = self.config
        extraction = Extraction(
            cache=self.folder.features,
            image_size=config.image_size,
            batch_size=config.batch_size,
            device=config.device,
            workers=config.workers,
        )
        return Subject(encoder, task.data, self.others, extraction)

    def _fill(self, parts: Parts, task: SuiteTask) -> list[dict[str, Any]]:
        """The records of a task's cells, with the file of their predictions."""
        seeds = self.config.seeds if depends_on_seed(task.protocol) else self.config.seeds[:1]
        records = []
        for seed in seeds:
            cell = find_cell(
                self.folder,
                parts.subject,
                task.protocol_name,
                task.protocol,
                seed=seed,
                first_seed=seeds[0],
            )
            record = fill_cell(cell, parts, task.protocol, first_seed=seeds[0])
            records.append({**record, "predictions": cell.predictions})
        return records


def load_suite(
    config: IntegrateConfig, folder: ResultsFolder, config_dir: Path | None = None
) -> Suite:
    """Find the data sets and protocols of a suite.

    Args:
        config: Names them.
        folder: Of results.
        config_dir: Folder with data sets and protocols of one's own.

    Raises:
        InputError: If one is not there, is not what the suite was frozen with, is named twice, or
            a protocol does not serve its data.
    """
    data_sets: dict[str, EvaluationData] = {}
    asked: dict[str, object] = {}
    tasks: list[SuiteTask] = []
    for entry in config.suite:
        wanted = _read_entry(entry)
        name, protocol = load_protocol(wanted["protocol"], config_dir)
        data_config = load_data_config(wanted["data"], config.root, config_dir)
        if asked.setdefault(data_config.name, wanted["data"]) != wanted["data"]:
            raise InputError(
                f"suite has two data sets named {data_config.name}; give one of them another name"
            )
        if data_config.name not in data_sets:
            data_sets[data_config.name] = load_data(data_config)
        task = SuiteTask(data_sets[data_config.name], name, protocol)
        _check(task, wanted.get("digest"), [known.name for known in tasks])
        tasks.append(task)
    tested_on = {task.protocol.test_data for task in tasks} - {None, *data_sets}
    others = data_sets | {
        str(name): load_data(load_data_config(name, config.root, config_dir)) for name in tested_on
    }
    tasks.sort(key=lambda task: list(data_sets).index(task.data.name))
    return Suite(tasks, others, folder, config)


def describe_suite(suite: Suite) -> None:
    """Write the protocols down beside the results."""
    for task in suite.tasks:
        describe_protocol(suite.folder, task.protocol_name, task.protocol, None)


def compare_measured(before: Measured, after: Measured) -> tuple[Gain, ...]:
    """What changed on each task, with the interval of the paired difference."""
    gains = []
    for task, new in after.scores.items():
        old = before.scores[task]
        metric = _metric(new.task)
        found = new.compare(old, metric)
        gains.append(
            Gain(
                task,
                metric,
                old.values[metric],
                new.values[metric],
                found.value,
                found.low,
                found.high,
            )
        )
    return tuple(gains)


def _read_entry(entry: object) -> Mapping[str, Any]:
    known = {"data", "protocol", "digest"}
    if not isinstance(entry, Mapping) or not {"data", "protocol"} <= set(entry) <= known:
        raise InputError(
            f"suite has {entry!r}, expected a mapping such as "
            "{data: eurosat_ms, protocol: linear}, with a digest of the data if wanted"
        )
    return {str(key): value for key, value in entry.items()}


def _check(task: SuiteTask, digest: object, names: Sequence[str]) -> None:
    if task.name in names:
        raise InputError(f"suite has {task.name} twice; name it once")
    if not serves(task.protocol, task.data):
        raise InputError(
            f"suite: protocol {task.protocol_name} has nothing to say of data {task.data.name} "
            f"({task.data.task.kind}); take another protocol"
        )
    if digest is not None and task.data.digest != digest:
        raise InputError(
            f"suite: data {task.data.name} is not what the suite was frozen with: its digest is "
            f"{task.data.digest}, and {digest} is wanted; restore its files, or freeze it anew"
        )


def _metric(task: Task) -> str:
    """The score that decides; for numbers one without a unit, so that one tolerance fits all."""
    return "r2" if task.kind == "regression" else main_metric(task)[0]


def _mean(gates: Sequence[Mapping[str, float]]) -> dict[str, float]:
    total: dict[str, float] = defaultdict(float)
    for gate in gates:
        for member, weight in gate.items():
            total[member] += weight / len(gates)
    return dict(total)
