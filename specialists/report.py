"""What a finished run says on the screen."""

import math
from collections.abc import Mapping

from rich.console import Console
from rich.table import Table

from specialists.metrics import Scores, selection_metric
from specialists.task_spec import TaskSpec

_TITLES = {"majority": "majority", "linear_statistics": "linear on statistics"}


def print_scores(
    console: Console,
    spec: TaskSpec,
    scores: Mapping[str, Scores],
    floors: Mapping[str, Mapping[str, Scores]],
    *,
    name: str = "specialist",
) -> None:
    """Print a network beside the floors, and a warning where it does not beat them.

    Args:
        console: Where to.
        spec: Its task.
        scores: Its scores by split.
        floors: For each floor, its scores by split; a split may be missing.
        name: What it is called.
    """
    deciding, mode = selection_metric(spec)
    table = Table(title=f"{spec.task}: {name} and floors")
    for heading in ("split", "metric"):
        table.add_column(heading)
    for heading in (*(_TITLES[floor] for floor in floors), name):
        table.add_column(heading, justify="right")
    below = []
    for split, own in scores.items():
        for metric in (key for key, value in own.items() if not isinstance(value, dict)):
            theirs = [by_split.get(split, {}).get(metric) for by_split in floors.values()]
            value = _format(own[metric])
            if metric == deciding:
                ahead = all(_is_better(own[metric], other, mode) for other in theirs)
                value = f"[bold {'green' if ahead else 'red'}]{value}[/]"
                below += [] if ahead else [split]
            table.add_row(split, metric, *map(_format, theirs), value)
        table.add_section()
    console.print(table)
    for split in below:
        console.print(
            f"[yellow]On {split}, the {name}'s {deciding} does not beat every floor: "
            "more data, more epochs or a pretrained backbone may help.[/]"
        )


def _is_better(own: float, other: float | None, mode: str) -> bool:
    return other is None or (own > other if mode == "max" else own < other)


def _format(value: float | None) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.4f}"
