"""Gate usage as a heat map: members down, all images and each class across."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from router.composing.usage import ALL, Usage

_MOST_WRITTEN = 24
"""Columns up to which numbers are written into the fields."""


def draw_usage(usage: Usage, path: Path, title: str) -> None:
    """Draw the mean weight of each member and, where there is room, in how many images it runs.

    Args:
        usage: What to draw.
        path: The PNG to write.
        title: Above the picture.
    """
    columns = list(usage.counts)
    weights = np.array(
        [[usage.shares[name][member].weight for name in columns] for member in usage.members]
    )
    column = 0.62 if len(columns) <= _MOST_WRITTEN else 0.22
    height = 1.9 + 0.5 * len(usage.members) + 0.05 * max(map(len, columns))
    width = 2.6 + 0.08 * max(map(len, usage.members)) + column * len(columns)
    figure = Figure(figsize=(max(width, 5.0), height), layout="constrained")
    axes = figure.subplots()
    drawn = axes.imshow(weights, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    labels = [f"{name} ({usage.counts[name]:,})" for name in columns]
    axes.set_xticks(range(len(columns)), labels, rotation=40, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(usage.members)), usage.members)
    axes.set_xticks(np.arange(len(columns)) - 0.5, minor=True)
    axes.set_yticks(np.arange(len(usage.members)) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=1.5)
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)
    if len(columns) > 1 and columns[0] == ALL:
        axes.axvline(0.5, color="0.25", linewidth=1.5)
    if len(columns) <= _MOST_WRITTEN:
        for row, member in enumerate(usage.members):
            for place, name in enumerate(columns):
                share = usage.shares[name][member]
                axes.text(
                    place,
                    row,
                    f"{share.weight:.2f}\n{share.asked:.0%}",
                    ha="center",
                    va="center",
                    fontsize=7,
                    color="white" if share.weight > 0.55 else "0.15",
                )
        caption = "mean weight, and share of the images that run the member"
        figure.supxlabel(caption, fontsize=8)
    axes.set_title(title, fontsize=10, loc="left")
    figure.colorbar(drawn, ax=axes, label="mean weight", pad=0.02)
    figure.savefig(path, dpi=130)
