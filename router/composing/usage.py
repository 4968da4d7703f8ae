"""How often a gate asks each member over a data set; no member runs for it.

Shape suffixes: B batch, N images, M members, K classes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.utils.data import DataLoader

from rasters import ChipDataset
from rasters.progress import show_progress
from router.ensemble import Ensemble
from specialists.loading import collate

ALL = "all images"


@dataclass(frozen=True)
class Share:
    """What one member does in some images.

    Args:
        weight: Its mean weight.
        asked: Share of the images that it runs for.
    """

    weight: float
    asked: float


@dataclass(frozen=True)
class Usage:
    """What a gate decided over a data set.

    Args:
        members: References, in the ensemble's order.
        counts: Images of each class, and of `ALL` of them first; a class without images is left
            out, and there are none where scenes have no classes.
        shares: For each of these, what each member does.
        can_run: Member to the share of images that it can run for.
        nobody: Share of images that no member runs for.
    """

    members: tuple[str, ...]
    counts: Mapping[str, int]
    shares: Mapping[str, Mapping[str, Share]]
    can_run: Mapping[str, float]
    nobody: float

    @property
    def images(self) -> int:
        """How many there are."""
        return self.counts[ALL]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON form."""
        classes = [name for name in self.counts if name != ALL]
        return {
            "images": self.images,
            "nobody": self.nobody,
            "classes": {name: self.counts[name] for name in classes},
            "members": {
                member: vars(self.shares[ALL][member])
                | {
                    "can_run": self.can_run[member],
                    "classes": {name: vars(self.shares[name][member]) for name in classes},
                }
                for member in self.members
            },
        }


@torch.no_grad()
def measure_usage(
    ensemble: Ensemble,
    chips: ChipDataset,
    *,
    gsd: float | None = None,
    batch_size: int = 64,
    title: str = "Gate",
) -> Usage:
    """Ask the gate about every image.

    Args:
        ensemble: On any device; it is left in evaluation mode.
        chips: Images of any bands, all of the same.
        gsd: Ground sample distance in metres; by default the bands' own.
        batch_size: Images at once; it does not change the result.
        title: Of the progress bar.

    Raises:
        InputError: If the images differ in size.
    """
    ensemble.eval()
    device = ensemble.fusion.bias[0].device
    weights, can_run, labels = [], [], []
    for batch in show_progress(DataLoader(chips, batch_size, collate_fn=collate), title):
        x_BCHW, valid = batch["image"].to(device), batch["valid"].to(device)
        routing = ensemble.route(x_BCHW, chips.bands, valid, gsd)
        weights.append(routing.weights_BM.cpu())
        can_run.append(routing.applicable_BM.cpu())
        if chips.task == "scene-classification":
            labels.append(_one_hot(batch["label"], len(chips.classes)))
    names = tuple(member.reference for member in ensemble.members)
    weights_NM = torch.cat(weights)
    rows = {ALL: torch.ones(len(weights_NM), dtype=torch.bool)}
    if labels:
        rows |= dict(zip(chips.classes, torch.cat(labels).T, strict=True))
    rows = {name: rows_N for name, rows_N in rows.items() if bool(rows_N.any())}
    return Usage(
        members=names,
        counts={name: int(rows_N.sum()) for name, rows_N in rows.items()},
        shares={name: _shares(names, weights_NM[rows_N]) for name, rows_N in rows.items()},
        can_run=dict(zip(names, torch.cat(can_run).float().mean(0).tolist(), strict=True)),
        nobody=float((weights_NM <= 0).all(1).float().mean()),
    )


def print_usage(console: Console, usage: Usage, title: str) -> None:
    """Print who is asked, over all images."""
    table = Table(title=title)
    table.add_column("member")
    for heading in ("mean weight", "asked", "could run"):
        table.add_column(heading, justify="right")
    for member, share in usage.shares[ALL].items():
        can_run = usage.can_run[member]
        table.add_row(member, f"{share.weight:.3f}", f"{share.asked:.0%}", f"{can_run:.0%}")
    console.print(table)
    if usage.nobody:
        console.print(f"For {usage.nobody:.1%} of the images no member can run.")


def _one_hot(label: Tensor, classes: int) -> Tensor:
    """Which classes an image has, bool (B, K)."""
    if label.ndim == 2:
        return label > 0.5
    return torch.nn.functional.one_hot(label, classes).bool()


def _shares(names: tuple[str, ...], weights_NM: Tensor) -> dict[str, Share]:
    weight_M, asked_M = weights_NM.mean(0), (weights_NM > 0).float().mean(0)
    return {
        name: Share(weight, asked)
        for name, weight, asked in zip(names, weight_M.tolist(), asked_M.tolist(), strict=True)
    }
