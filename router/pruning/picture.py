"""Redundancy as a clustered heat map, with what each member is worth beside it."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from rich.table import Table
from scipy.cluster.hierarchy import dendrogram, linkage
from scipy.spatial.distance import squareform

from router.pruning.redundancy import Redundancy


def draw_redundancy(found: Redundancy, path: Path, title: str) -> None:
    """Draw how alike members are, those that are alike side by side.

    Args:
        found: What to draw.
        path: The PNG to write.
        title: Above the picture.
    """
    alike_MM = np.nan_to_num(found.mean_alignment, nan=0.0)
    count = len(found.members)
    figure = Figure(figsize=(5.5 + 0.75 * count, 2.6 + 0.5 * count), layout="constrained")
    widths = [1.2, 0.55 * count + 1, 1.4, 1.4]
    tree, heat, adds, loses = figure.subplots(1, 4, width_ratios=widths)
    order = list(range(count))
    if count > 1:
        distance_MM = np.clip(1 - (alike_MM + alike_MM.T) / 2, 0, None)
        np.fill_diagonal(distance_MM, 0)
        links = linkage(squareform(distance_MM, checks=False), "average")
        drawn = dendrogram(
            links, ax=tree, orientation="left", color_threshold=0, above_threshold_color="0.4"
        )
        order = drawn["leaves"]
        tree.invert_yaxis()
    tree.set_axis_off()
    names = [found.members[place] for place in order]
    image = heat.imshow(alike_MM[np.ix_(order, order)], cmap="Blues", vmin=0, vmax=1, aspect="auto")
    heat.set_xticks(range(count), names, rotation=40, ha="right", rotation_mode="anchor")
    heat.set_yticks(range(count), names)
    for row, first in enumerate(order):
        for column, second in enumerate(order):
            value = found.mean_alignment[first, second]
            text = "" if np.isnan(value) else f"{value:.2f}"
            colour = "white" if value > 0.55 else "0.15"
            heat.text(column, row, text, ha="center", va="center", fontsize=8, color=colour)
    figure.colorbar(image, ax=heat, label="linear CKA, mean over levels", pad=0.02)
    bars = ((adds, found.complement, "adds to the others\n(R2 of a linear probe)"),)
    for axes, values, label in (*bars, (loses, found.losses, "lost without it\n(score)")):
        axes.barh(range(count), [values.get(name, np.nan) for name in names], color="tab:blue")
        axes.axvline(0, color="0.3", linewidth=0.8)
        axes.set_ylim(count - 0.5, -0.5)
        axes.set_yticks([])
        axes.set_xlabel(label, fontsize=8)
        axes.tick_params(labelsize=7)
        axes.locator_params(axis="x", nbins=4)
    figure.suptitle(title, fontsize=10)
    figure.savefig(path, dpi=130)


def tabulate_redundancy(found: Redundancy, title: str) -> Table:
    """One row for each member."""
    table = Table(title=title)
    table.add_column("member", overflow="fold")
    for heading in ("mean weight", "asked", "adds (R2)", "lost without it"):
        table.add_column(heading, justify="right")
    table.add_column("most alike (CKA)", overflow="fold")
    for name in found.members:
        alike = found.most_alike(name)
        adds, loss = found.complement[name], found.losses.get(name)
        table.add_row(
            name,
            f"{found.usage[name]:.3f}",
            f"{found.asked[name]:.0%}",
            "cannot run" if np.isnan(adds) else f"{adds:+.3f}",
            "" if loss is None else f"{loss:+.3f}",
            "" if alike is None else f"{alike[0]} ({alike[1]:.2f})",
        )
    return table
