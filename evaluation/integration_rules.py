"""The rules by which a new member is taken, takes another's place, or is turned away."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Gain:
    """What a change of the ensemble does to one task.

    Args:
        task: Data set and protocol.
        metric: The score, of which more is better.
        before, after: Its values.
        value: The difference.
        low, high: Limits of the difference, NaN where there is a single test sample.
    """

    task: str
    metric: str
    before: float
    after: float
    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return (
            f"{self.task}: {self.metric} {self.before:.3f} before, {self.after:.3f} after, "
            f"{self.value:+.3f} ({self.low:+.3f} to {self.high:+.3f})"
        )


@dataclass(frozen=True)
class Trial:
    """The new member in the place of an old one.

    Args:
        gains: Over the ensemble as it is, for each task.
        beside: Over the ensemble with both.
    """

    gains: Sequence[Gain]
    beside: Sequence[Gain]


@dataclass(frozen=True)
class Rules:
    """When a gain or a loss counts.

    Args:
        tolerance: Loss that is let pass.
        min_gain: The least gain, where means decide.
        decide_by: `interval`: a gain counts if its interval is above 0, and a loss if its interval
            is below `-tolerance`; `mean`: by its size alone.
    """

    tolerance: float = 0.005
    min_gain: float = 0.005
    decide_by: str = "interval"

    def gains(self, gain: Gain) -> bool:
        """Whether a task gets better."""
        return gain.low > 0 if self.decide_by == "interval" else gain.value >= self.min_gain

    def loses(self, gain: Gain) -> bool:
        """Whether a task is harmed."""
        limit = gain.high if self.decide_by == "interval" else gain.value
        return limit < -self.tolerance

    def passes(self, gains: Sequence[Gain]) -> bool:
        """Whether a change is good: some task gains, and none is harmed."""
        return any(map(self.gains, gains)) and not any(map(self.loses, gains))


@dataclass(frozen=True)
class Verdict:
    """What is to be done.

    Args:
        action: `add`, `replace` or `reject`.
        replaced: The member that goes, for `replace`.
        reason: Why, in a sentence.
    """

    action: str
    replaced: str | None
    reason: str


def judge(added: Sequence[Gain], instead: Mapping[str, Trial], rules: Rules) -> Verdict:
    """Decide on a new member.

    What is taken must make some task better and harm none. Where both do, a replacement is
    preferred to an addition that is nowhere better by more than the tolerance: the ensemble stays
    as small as it was.

    Args:
        added: What the new member does beside all others.
        instead: What it does in the place of an old one, by the old one's reference.
        rules: When a gain or a loss counts.
    """
    can_add = rules.passes(added)
    for name, trial in instead.items():
        no_worse = all(gain.value >= -rules.tolerance for gain in trial.beside)
        if rules.passes(trial.gains) and (no_worse or not can_add):
            why = (
                f"without {name} the ensemble is nowhere worse by more than {rules.tolerance:g}"
                if can_add
                else f"beside {name} it does not pass, in its place it does"
            )
            return Verdict("replace", name, f"gains on {_tasks(trial.gains, rules)}; {why}")
    if can_add:
        reason = f"gains on {_tasks(added, rules)}, and no task is harmed"
        return Verdict("add", None, reason)
    harmed = [gain.task for gain in added if rules.loses(gain)]
    if harmed:
        reason = f"interference: more than {rules.tolerance:g} is lost on {', '.join(harmed)}"
        return Verdict("reject", None, reason)
    return Verdict("reject", None, "adds nothing measurable")


def _tasks(gains: Iterable[Gain], rules: Rules) -> str:
    return ", ".join(gain.task for gain in gains if rules.gains(gain))
