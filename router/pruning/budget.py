"""Which step of a search meets a budget."""

from collections.abc import Sequence
from dataclasses import dataclass

from sensors.errors import InputError

TOLERATED = 0.005
"""Loss of score that is tolerated where no budget is given: half a point."""
_COSTS = {"parameters": "parameters", "macs": "multiply-adds an image", "latency_ms": "ms"}


@dataclass(frozen=True)
class Point:
    """What one choice of members is worth and costs.

    Args:
        members: How many there are.
        drop: By how much it scores worse than the whole on the selection split.
        parameters: All there are.
        macs: Multiply-adds of one image.
        latency_ms: Of one image.
    """

    members: int
    drop: float
    parameters: int
    macs: int
    latency_ms: float

    def __str__(self) -> str:
        return (
            f"{self.members} members, a loss of {self.drop:.4f}, {self.parameters:,} parameters, "
            f"{self.macs:,} multiply-adds, {self.latency_ms:.1f} ms"
        )


@dataclass(frozen=True)
class Budget:
    """What may be lost, and what has to be saved; None where nothing is asked.

    Args:
        drop: Loss of score that is tolerated, on the selection split; `TOLERATED` where nothing at
            all is asked.
        parameters: At most.
        macs: Of one image, at most.
        latency_ms: Of one image, at most.

    Raises:
        InputError: If a limit is not above 0, or the loss is below 0.
    """

    drop: float | None = None
    parameters: float | None = None
    macs: float | None = None
    latency_ms: float | None = None

    def __post_init__(self) -> None:
        for name, limit in self._targets().items():
            if not limit > 0:
                raise InputError(f"budget.{name}={limit} is not above 0")
        if self.drop is None and not self._targets():
            object.__setattr__(self, "drop", TOLERATED)
        if self.drop is not None and not self.drop >= 0:
            raise InputError(f"budget.drop={self.drop} is below 0")

    def __str__(self) -> str:
        parts = [f"at most {limit:g} {_COSTS[name]}" for name, limit in self._targets().items()]
        if self.drop is not None:
            parts.insert(0, f"a loss of at most {self.drop:g}")
        return ", ".join(parts)

    def choose(self, points: Sequence[Point]) -> int:
        """The step to take: where limits are given, the best that meets them; else the smallest.

        Args:
            points: The steps of a search, the whole ensemble first.

        Returns:
            Its number; 0 where nothing can go.

        Raises:
            InputError: If none meets the budget; says how near each limit came.
        """
        within = [number for number, point in enumerate(points) if self._tolerates(point)]
        if not self._targets():
            return max(within, default=0)
        fitting = [number for number, point in enumerate(points) if self._fits(point)]
        meeting = sorted(set(within) & set(fitting))
        if meeting:
            return min(meeting, key=lambda number: points[number].drop)
        least = min(range(len(points)), key=lambda number: self._excess(points[number]))
        lines = [f"the cheapest choice found has {points[least]}"]
        if fitting:
            best = min(fitting, key=lambda number: points[number].drop)
            lines = [f"the best that is cheap enough has {points[best]}"]
        if within:
            cheapest = min(within, key=lambda number: self._excess(points[number]))
            lines.append(f"the cheapest that is good enough has {points[cheapest]}")
        raise InputError(
            f"the budget ({self}) cannot be met: " + "; ".join(lines) + "; the ensemble is as it "
            "was: give a wider budget"
        )

    def _targets(self) -> dict[str, float]:
        return {name: getattr(self, name) for name in _COSTS if getattr(self, name) is not None}

    def _tolerates(self, point: Point) -> bool:
        return self.drop is None or point.drop <= self.drop + 1e-9

    def _fits(self, point: Point) -> bool:
        return all(getattr(point, name) <= limit for name, limit in self._targets().items())

    def _excess(self, point: Point) -> float:
        """How many times over the tightest limit it is."""
        return max(float(getattr(point, name)) / limit for name, limit in self._targets().items())
