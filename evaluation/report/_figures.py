"""What the template draws: panels of figures to choose from, and rows of dots with whiskers."""

from collections.abc import Sequence
from dataclasses import dataclass

from evaluation.report.charts import Axis, Mark


@dataclass(frozen=True)
class Row:
    """One line of a figure.

    Args:
        name: What it is about.
        group: How it is drawn: `encoder`, `ensemble` or `floor`.
        text: The number.
        ends: Its interval.
        marks: Dots with whiskers and how they are drawn: filled, `from` (where a change starts),
            `unclear` (a difference that may be none).
        empty: Why there is no number.
    """

    name: str
    group: str
    text: str = ""
    ends: str = ""
    marks: tuple[tuple[str, Mark], ...] = ()
    empty: str = ""


@dataclass(frozen=True)
class Figure:
    """Rows of dots on one axis.

    Args:
        keys: What it shows, by the name of the choice: `{"protocol": "Linear probe"}`.
        caption: In a sentence.
        heading: Of the column of numbers.
        axis: Of all rows.
        rows: Best first.
        line: Where the reference line stands, in percent.
        ends: What the left and the right end of the axis mean.
        note: Below the figure.
    """

    keys: dict[str, str]
    caption: str
    heading: str
    axis: Axis
    rows: Sequence[Row]
    line: float | None = None
    ends: tuple[str, str] | None = None
    note: str = ""


@dataclass(frozen=True)
class Panel:
    """Figures of which one is seen at a time; the first is the default.

    Args:
        title: Of the panel.
        figures: All with the same keys.
        facts: One line below the title.
    """

    title: str
    figures: Sequence[Figure]
    facts: str = ""

    @property
    def choices(self) -> dict[str, list[str]]:
        """What can be chosen, for each key in the order of the figures."""
        keys = self.figures[0].keys
        return {key: list(dict.fromkeys(f.keys[key] for f in self.figures)) for key in keys}
