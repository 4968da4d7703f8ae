"""What happened in the rounds of a run: kept, shown and drawn."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from rich.table import Table


@dataclass
class Round:
    """One round.

    Args:
        number: From 1 on.
        asked: Nodes that were asked to train.
        answered: Of these, those whose update was used.
        dropped: Answers that could not be used, to train or to score.
        seconds: From asking to the last answer.
        bytes_down, bytes_up: What went to the nodes and came from them, scores included.
        loss: Mean training loss.
        scores: Mean scores on the nodes' held-out chips.
        published: Numbers of chips of those nodes that agreed to say them.
        released: Whether its result became the common weights.
        epsilon: Privacy spent up to here, if it is accounted for.
    """

    number: int
    asked: int = 0
    answered: int = 0
    dropped: int = 0
    seconds: float = 0.0
    bytes_down: int = 0
    bytes_up: int = 0
    loss: float | None = None
    scores: dict[str, float] = field(default_factory=dict)
    published: list[int] = field(default_factory=list)
    released: bool = False
    epsilon: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> Self:
        """Inverse of `to_dict`."""
        return cls(**record)

    def describe(self, rounds: int, metric: str) -> str:
        """One line."""
        parts = [f"Round {self.number}/{rounds}", f"{self.answered} of {self.asked} nodes"]
        if self.loss is not None:
            parts.append(f"loss {self.loss:.4f}")
        if metric in self.scores:
            parts.append(f"{metric} {self.scores[metric]:.4f}")
        if self.epsilon is not None:
            parts.append(f"epsilon {self.epsilon:.3g}")
        sent = f"{self.bytes_down / 1e6:.1f} MB down, {self.bytes_up / 1e6:.1f} MB up"
        return " | ".join([*parts, sent, f"{self.seconds:.0f} s"])


def best_round(history: Sequence[Round], metric: str, mode: str) -> Round | None:
    """The round with the best score on the nodes' held-out chips; the first of equals."""
    scored = [found for found in history if metric in found.scores]
    if not scored:
        return None
    sign = 1 if mode == "max" else -1
    return max(scored, key=lambda found: (sign * found.scores[metric], -found.number))


def tabulate_history(history: Sequence[Round], metric: str, title: str) -> Table:
    """All rounds as a table."""
    table = Table(title=title)
    for name in ("round", "nodes", "left out", "loss", metric, "MB down", "MB up", "seconds"):
        table.add_column(name, justify="right")
    for found in history:
        table.add_row(
            str(found.number),
            f"{found.answered}/{found.asked}",
            str(found.dropped),
            "" if found.loss is None else f"{found.loss:.4f}",
            f"{found.scores[metric]:.4f}" if metric in found.scores else "",
            f"{found.bytes_down / 1e6:.2f}",
            f"{found.bytes_up / 1e6:.2f}",
            f"{found.seconds:.1f}",
        )
    return table


def draw_history(history: Sequence[Round], metric: str, path: Path) -> None:
    """Score, loss, nodes and bytes over the rounds, as a PNG."""
    figure = Figure(figsize=(9, 6), layout="constrained")
    axes = figure.subplots(2, 2, sharex=True)
    numbers = [found.number for found in history]
    curves: dict[str, list[Any]] = {
        f"{metric} on held-out chips": [found.scores.get(metric) for found in history],
        "training loss": [found.loss for found in history],
        "nodes that took part": [found.answered for found in history],
    }
    for place, (name, values) in zip(axes.flat, curves.items(), strict=False):
        known = [(x, y) for x, y in zip(numbers, values, strict=True) if y is not None]
        place.plot([x for x, _ in known], [y for _, y in known], marker="o", markersize=3)
        place.set_title(name, fontsize=10)
    sent = axes.flat[3]
    for name, values in {
        "down": [found.bytes_down / 1e6 for found in history],
        "up": [found.bytes_up / 1e6 for found in history],
    }.items():
        sent.plot(numbers, values, marker="o", markersize=3, label=name)
    sent.set_title("megabytes", fontsize=10)
    sent.set_ylim(bottom=0)
    sent.legend()
    axes[0, 1].set_ylim(bottom=0)
    axes[1, 0].set_ylim(bottom=0)
    for place in axes[1]:
        place.set_xlabel("round")
        place.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.savefig(path, dpi=110)
