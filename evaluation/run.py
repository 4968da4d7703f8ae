"""The loop over data sets, encoders and seeds; what is finished is never done again."""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from evaluation._workload import choose_images
from evaluation.cells import Extraction, Subject, serves
from evaluation.config import (
    EvaluateConfig,
    ProtocolConfig,
    base_of,
    load_protocol,
)
from evaluation.dataset import EvaluationData, load_data
from evaluation.efficiency import measure_efficiency
from evaluation.encoders import EncoderConfig, is_random, load_encoder
from evaluation.filling import (
    Parts,
    describe_protocol,
    describe_subject,
    fill_cell,
    find_cell,
)
from evaluation.folder import ResultsFolder
from evaluation.lineup import line_up
from evaluation.repeat import repeat_command
from evaluation.results import write_results
from rasters.progress import show_progress
from registry import Registry
from sensors import InputError
from specialists.named_data import load_data_config
from specialists.run import describe_machine

console = Console()


def evaluate(
    config: EvaluateConfig, *, config_dir: Path | None = None, command: str = ""
) -> ResultsFolder:
    """Evaluate every encoder on every data set by every protocol, and write the results.

    Args:
        config: What to evaluate.
        config_dir: Folder with data sets and protocols of one's own.
        command: The command line, for the record.

    Returns:
        The folder of results.

    Raises:
        InputError: If an encoder, data set or protocol is not there, or data cannot be read. What
            cannot be evaluated for another reason is recorded as an empty cell.
    """
    folder = ResultsFolder(Path(config.out))
    protocols = dict(load_protocol(entry, config_dir) for entry in config.protocols)

    def load(entry: object) -> EvaluationData:
        return load_data(load_data_config(entry, config.root, config_dir))

    data_sets = {data.name: data for data in map(load, config.data_sets)}
    tested_on = {protocol.test_data for protocol in protocols.values()} - {None, *data_sets}
    others = data_sets | {str(name): load(name) for name in tested_on}
    if config.efficiency not in ("all", "none", *data_sets):
        raise InputError(
            f"efficiency={config.efficiency} is neither all, none nor one of the data sets "
            f"{', '.join(data_sets)}"
        )
    registry = Registry.open(config.registry)
    encoders = {
        name: line_up(config.encoders, data.bands, registry, floors=config.floors)
        for name, data in data_sets.items()
    }
    for name, protocol in protocols.items():
        describe_protocol(folder, name, protocol, base_of(name, protocols))
    run = _Run(config, folder, protocols, others, registry)
    empty = 0
    units = [(name, encoder) for name, found in encoders.items() for encoder in found]
    for name, encoder in show_progress(units, "Encoders x data sets"):
        for seed in config.seeds:
            empty += run.evaluate(data_sets[name], encoder, seed)
        if encoder is encoders[name][-1]:
            data_sets[name].forget()
    write_results(folder, command=command, resamples=config.resamples)
    if empty:
        console.print(f"{empty} cells are empty; the report says of each one why.")
    console.print(
        f"Results: {folder.results}, beside it as .csv and .parquet. Next:", soft_wrap=True
    )
    console.print(
        f"evaluate-encoder report out={config.out}", soft_wrap=True, highlight=False, markup=False
    )
    return folder


@dataclass(frozen=True)
class _Run:
    """What stays the same from cell to cell."""

    config: EvaluateConfig
    folder: ResultsFolder
    protocols: Mapping[str, ProtocolConfig]
    others: Mapping[str, EvaluationData]
    registry: Registry

    def evaluate(self, data: EvaluationData, encoder: EncoderConfig, seed: int) -> int:
        """All protocols of one encoder on one data set with one seed; the number of empty cells."""
        started = time.perf_counter()
        loaded = load_encoder(encoder, data.context, seed=seed, registry=self.registry)
        subject = Subject(loaded, data, self.others, self._extraction)
        describe_subject(self.folder, subject)
        parts = Parts(subject)
        found = []
        for name, protocol in self.protocols.items():
            if serves(protocol, data):
                found.append(self._evaluate_cell(parts, encoder, name, protocol, seed))
        if seed == self.config.seeds[0] and loaded.kind != "majority":
            self._measure(parts, encoder)
        if found:
            console.print(
                f"{data.name} · {loaded.name} · seed {seed}: "
                f"{', '.join(map(_in_words, found))} ({time.perf_counter() - started:.1f} s)",
                highlight=False,
                markup=False,
                soft_wrap=True,
            )
        return sum(record["status"] == "empty" for record in found)

    def _evaluate_cell(
        self,
        parts: Parts,
        encoder: EncoderConfig,
        name: str,
        protocol: ProtocolConfig,
        seed: int,
    ) -> dict[str, Any]:
        subject, first = parts.subject, self.config.seeds[0]
        cell = find_cell(
            self.folder,
            subject,
            name,
            protocol,
            seed=seed,
            first_seed=first,
            is_random=is_random(encoder),
        )
        return fill_cell(
            cell,
            parts,
            protocol,
            first_seed=first,
            examples=self.config.examples,
            command=repeat_command(self.config, encoder, subject.data.name, name, seed),
        )

    def _measure(self, parts: Parts, encoder: EncoderConfig) -> None:
        """The cost of an encoder on images of this data set, once."""
        subject, data = parts.subject, parts.subject.data
        if self.config.efficiency not in ("all", data.name):
            return
        names = (subject.encoder.name, data.name)
        size = self.config.image_size or data.context.chip_size
        decisive = {
            "chip_size": size,
            "digest": subject.encoder.digest,
            "batch_size": self.config.batch_size,
            "device": self._extraction.device,
            "threads": torch.get_num_threads(),
            "machine": describe_machine(),
        }
        is_ensemble = subject.encoder.kind == "ensemble"
        if is_ensemble:
            decisive["data_digest"] = data.digest
        record = self.folder.read("efficiency", *names)
        if record is not None and all(record.get(name) == decisive[name] for name in decisive):
            return
        batch_size, images, gate = self.config.batch_size, None, None
        try:
            if is_ensemble:
                gate = parts.read()["test"].gate
                images = choose_images(data.chips["test"], batch_size, self.config.image_size)
            measured = measure_efficiency(
                encoder,
                replace(data.context, chip_size=size),
                batch_size=batch_size,
                device=self._extraction.device,
                energy_seconds=self.config.energy_seconds,
                registry=self.registry,
                images=images,
                gate=gate,
            )
        except InputError:
            return  # bands are missing: its cells are empty and say so
        content = {"encoder": names[0], "data": names[1], **decisive, "measured": asdict(measured)}
        self.folder.write("efficiency", *names, content=content)

    @property
    def _extraction(self) -> Extraction:
        config = self.config
        return Extraction(
            cache=Path(config.cache) if config.cache else self.folder.features,
            image_size=config.image_size,
            batch_size=config.batch_size,
            device=config.device,
            workers=config.workers,
        )


def _in_words(record: Mapping[str, Any]) -> str:
    if record["status"] == "empty":
        return f"{record['protocol']} empty"
    metric = record["main_metric"]
    return f"{record['protocol']} {metric} {record['scores'][metric]:.3f}"
