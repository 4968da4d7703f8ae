"""What a network is worth and what it costs, before and after something was cut from it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import nan
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from rich.table import Table
from torch import Tensor

from evaluation._workload import choose_images
from evaluation.efficiency import median_seconds
from evaluation.intervals import Interval, interval
from evaluation.predictions import Predictions, PredictionsBuilder, ScenePredictions
from evaluation.tasks import Task, main_metric
from rasters import ChipDataset
from router.task_ensemble import TaskEnsemble
from sensors.errors import InputError
from specialists.cost import count_call_macs, count_parameters
from specialists.evaluate import predict_batches
from specialists.network import TaskNetwork
from specialists.task_spec import TaskSpec

BATCH_SIZES = (1, 32)
"""Of which latency is measured."""
_ROUTED_IMAGES = 16  # that are counted one by one


@dataclass(frozen=True)
class Row:
    """One network, on one machine.

    Args:
        name: What the table calls it.
        metric: Which score.
        score: With its interval, over test samples.
        parameters: All there are.
        macs: Multiply-adds of one image; of an ensemble that routes, the mean over images.
        file_bytes: Of everything that it is loaded from.
        latency_ms: Batch size to the median milliseconds of one warmed run.
    """

    name: str
    metric: str
    score: Interval
    parameters: int
    macs: int
    file_bytes: int
    latency_ms: Mapping[int, float]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON form."""
        latency_ms = {str(size): ms for size, ms in self.latency_ms.items()}
        return vars(self) | {"score": vars(self.score), "latency_ms": latency_ms}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> "Row":
        """Inverse of `to_dict`, also after JSON has made None of NaN."""
        latency_ms = {int(size): ms for size, ms in record["latency_ms"].items()}
        known: dict[str, Any] = {
            name: nan if value is None else value for name, value in record["score"].items()
        }
        return cls(**{**record, "score": Interval(**known), "latency_ms": latency_ms})


@torch.no_grad()
def predict_chips(
    network: TaskNetwork,
    chips: ChipDataset,
    *,
    batch_size: int = 32,
    device: torch.device | str = "cpu",
    title: str = "Predictions",
    groups: Sequence[str] | None = None,
) -> Predictions:
    """What a network says of labelled chips.

    Args:
        network: It is moved to the device and put into evaluation mode.
        chips: Of its task's bands.
        batch_size: Chips at once; it does not change the result.
        device: Where to compute.
        title: Of the progress bar.
        groups: The group (place, scene) of each chip; by default those that the chips know.

    Raises:
        InputError: If the task has no answers that can be scored.
    """
    task = task_of(network.spec)
    groups = chips.groups if groups is None else groups
    by_name = None if groups is None else dict(zip(chips.ids, groups, strict=True))
    builder = PredictionsBuilder(task, by_name) if task.per_pixel else None
    answers, targets = [], []
    said = predict_batches(network, chips, batch_size, device, title)
    for number, (prediction, target) in enumerate(said):
        prediction = prediction.float().cpu()
        if builder is not None:
            ids = chips.ids[number * batch_size :][: len(prediction)]
            builder.update(prediction, target, ids)
        else:
            answers.append(prediction)
            targets.append(target)
    if builder is not None:
        return builder.build()
    return ScenePredictions.of(
        task, chips.ids, torch.cat(answers).numpy(), torch.cat(targets).numpy(), groups
    )


def task_of(spec: TaskSpec) -> Task:
    """A network's task as evaluations name it.

    Raises:
        InputError: If it has no answers that can be scored.
    """
    if spec.task == "similarity-search":
        raise InputError(
            "a backbone without a task (similarity-search) gives no answer that could be scored; "
            "take a specialist or an ensemble with a head"
        )
    return Task(spec.task, spec.classes, spec.multi_label, spec.per_pixel)


def measure_row(
    name: str,
    network: TaskNetwork,
    chips: ChipDataset,
    *,
    file_bytes: int,
    parameters: int | None = None,
    macs: int | None = None,
    device: str = "cpu",
    batch_sizes: Sequence[int] = BATCH_SIZES,
    predictions: Predictions | None = None,
) -> Row:
    """Score a network on chips, and time it on some of them.

    Args:
        name: What the table calls it.
        network: In evaluation mode.
        chips: Labelled chips of its task's bands.
        file_bytes: Of everything that it is loaded from.
        parameters: How many there are; counted if not given, which a compiled network cannot be.
        macs: Of one image; counted if not given, which a compiled network cannot be.
        device: Of torch.
        batch_sizes: Of which latency is measured.
        predictions: What it says of the chips, if that is known.
    """
    predictions = predictions or predict_chips(network, chips, device=device, title=name)
    metric, _ = main_metric(predictions.task)
    return Row(
        name,
        metric,
        interval([predictions], metric),
        count_parameters(network) if parameters is None else parameters,
        _count_macs(network, chips, device) if macs is None else macs,
        file_bytes,
        measure_latency(network, chips, device=device, batch_sizes=batch_sizes),
    )


@torch.no_grad()
def measure_latency(
    network: TaskNetwork,
    chips: ChipDataset,
    *,
    device: str = "cpu",
    batch_sizes: Sequence[int] = BATCH_SIZES,
) -> dict[int, float]:
    """Median milliseconds of a warmed run on real chips, by batch size."""
    found = {}
    for size in batch_sizes:
        x_BCHW, valid = (part.to(device) for part in choose_images(chips, size))
        step = _bind(network, x_BCHW, valid)
        found[size] = 1000 * median_seconds(step, device)
    return found


def _bind(network: TaskNetwork, x_BCHW: Tensor, valid: Tensor) -> Any:  # noqa: ANN401
    return lambda: network.predict(x_BCHW, valid=valid)


def _count_macs(network: TaskNetwork, chips: ChipDataset, device: str) -> int:
    """Of one image; the mean over some, where an ensemble may send each to other members."""
    routes = isinstance(network, TaskEnsemble) and not network.ensemble.spec.takes_all
    count = min(_ROUTED_IMAGES, len(chips)) if routes else 1
    x_BCHW, valid = (part.to(device) for part in choose_images(chips, count))
    total = sum(
        count_call_macs(_bind(network, x_BCHW[row : row + 1], valid[row : row + 1]))
        for row in range(count)
    )
    return round(total / count)


def tabulate(title: str, rows: Sequence[Row]) -> Table:
    """One row for each network."""
    table = Table(title=title)
    table.add_column("", overflow="fold")
    sizes = list(rows[0].latency_ms)
    headings = [f"{rows[0].metric} (95 %)", "parameters", "MACs", "file"]
    for heading in [*headings, *(f"ms, batch {size}" for size in sizes)]:
        table.add_column(heading, justify="right")
    for row in rows:
        score = row.score
        table.add_row(
            row.name,
            f"{score.value:.3f} [{score.low:.3f}, {score.high:.3f}]",
            f"{row.parameters / 1e6:.2f} M",
            f"{row.macs / 1e6:.1f} M",
            f"{row.file_bytes / 1e6:.2f} MB",
            *(f"{row.latency_ms[size]:.1f}" for size in sizes),
        )
    return table


def draw_pareto(rows: Sequence[Row], path: Path, batch_size: int = 1) -> None:
    """Draw score over latency, with intervals; the line joins those that no other one beats.

    Args:
        rows: One point each; all of one metric.
        path: The picture to write.
        batch_size: Of the latency.
    """
    figure = Figure(figsize=(7.0, 4.5), layout="constrained")
    axes = figure.subplots()
    for row in rows:
        score, ms = row.score, row.latency_ms[batch_size]
        below, above = score.value - score.low, score.high - score.value
        axes.errorbar(ms, score.value, [[below], [above]], fmt="o", capsize=3, markersize=5)
        axes.annotate(row.name, (ms, score.value), xytext=(5, 5), textcoords="offset points")
    front = pareto_front(rows, batch_size)
    axes.plot(
        [row.latency_ms[batch_size] for row in front],
        [row.score.value for row in front],
        color="0.6",
        zorder=0,
    )
    axes.set_xlabel(f"milliseconds, batch of {batch_size}")
    axes.set_ylabel(f"{rows[0].metric} (95 % intervals)")
    axes.set_xlim(left=0)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def pareto_front(rows: Sequence[Row], batch_size: int = 1) -> list[Row]:
    """Those rows than which no other is both quicker and better, the quickest first."""
    sign = -1 if rows[0].metric in ("rmse", "mae") else 1
    front: list[Row] = []
    for row in sorted(rows, key=lambda row: (row.latency_ms[batch_size], -sign * row.score.value)):
        if not front or sign * row.score.value > sign * front[-1].score.value:
            front.append(row)
    return front
