"""A decision on a new member, as a table."""

from collections.abc import Sequence

from rich.table import Table

from evaluation.integration import Decision
from evaluation.integration_rules import Gain


def tabulate_decision(decision: Decision) -> Table:
    """One row for each task and each change that was tried."""
    table = Table(title=f"{decision.member}, gains with 95 % intervals")
    for heading in ("Change", "Task", "Metric", "Before", "After", "Gain"):
        table.add_column(heading, overflow="fold")
    _add_rows(table, f"+ {decision.member}", decision.added)
    for old, trial in decision.instead.items():
        _add_rows(table, f"+ {decision.member} - {old}", trial.gains)
    return table


def _add_rows(table: Table, change: str, gains: Sequence[Gain]) -> None:
    for gain in gains:
        table.add_row(
            change,
            gain.task,
            gain.metric,
            f"{gain.before:.3f}",
            f"{gain.after:.3f}",
            f"{gain.value:+.3f} ({gain.low:+.3f} to {gain.high:+.3f})",
        )
