"""Which members can run on what is given, and what each of the others lacks.

Tensor shapes: B batch, C given bands, H rows, W columns, M members.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from router.member import Member
from sensors.bands import Channel
from sensors.choice import BandChoice
from sensors.plan import BandPlan


@dataclass(frozen=True)
class Pattern:
    """Images of a batch that have the same bands.

    Args:
        rows: Their numbers in the batch, (b,); None where it is the whole batch with all bands.
        columns: Numbers of the bands they have.
        bands: These bands.
        plans: For each member, how it gets its input from these.
    """

    rows: Tensor | None
    columns: tuple[int, ...]
    bands: tuple[Channel, ...]
    plans: tuple[BandPlan | BandChoice, ...]

    @property
    def applicable_M(self) -> list[bool]:
        """Which members can run."""
        return [plan.is_applicable for plan in self.plans]

    @property
    def match_M2(self) -> list[tuple[float, float]]:
        """How well each member's bands and the images' go together, 0 to 1 each.

        The mean spectral overlap of the member's bands with those that serve it, and the share of
        the images' bands that it uses.
        """
        return [plan.fit for plan in self.plans]

    def select(self, x_BCHW: Tensor) -> Tensor:
        """The images' own bands, (b, c, H, W)."""
        if self.rows is None:
            return x_BCHW
        return x_BCHW[self.rows][:, list(self.columns)]


def find_patterns(
    usable_BCHW: Tensor, bands: Sequence[Channel], members: Sequence[Member]
) -> Iterator[Pattern]:
    """Group images by the bands that they have: those with a usable pixel.

    An image without any usable pixel counts as having all its bands.

    Args:
        usable_BCHW: bool, where a pixel was measured.
        bands: What each channel measures.
        members: In the ensemble's order.
    """
    present_BC = usable_BCHW.flatten(2).any(2)
    present_BC |= ~present_BC.any(1, keepdim=True)
    if bool(present_BC.all()):
        yield _pattern(None, range(len(bands)), bands, members)
        return
    kinds, which_B = torch.unique(present_BC, dim=0, return_inverse=True)
    for number, kind_C in enumerate(kinds.tolist()):
        columns = [c for c, present in enumerate(kind_C) if present]
        yield _pattern((which_B == number).nonzero()[:, 0], columns, bands, members)


def fit_members(
    usable_BCHW: Tensor, bands: Sequence[Channel], members: Sequence[Member]
) -> tuple[Tensor, Tensor]:
    """Which members can run for each image, bool (B, M), and `Pattern.match_M2`, (B, M, 2).

    Arguments as for `find_patterns`.
    """
    shape, device = (len(usable_BCHW), len(members)), usable_BCHW.device
    applicable_BM = torch.zeros(shape, dtype=torch.bool, device=device)
    match_BM2 = torch.zeros((*shape, 2), device=device)
    for pattern in find_patterns(usable_BCHW, bands, members):
        rows = slice(None) if pattern.rows is None else pattern.rows
        applicable_BM[rows] = applicable_BM.new_tensor(pattern.applicable_M)
        match_BM2[rows] = match_BM2.new_tensor(pattern.match_M2)
    return applicable_BM, match_BM2


def _pattern(
    rows: Tensor | None,
    columns: Sequence[int],
    bands: Sequence[Channel],
    members: Sequence[Member],
) -> Pattern:
    there = tuple(bands[c] for c in columns)
    plans = tuple(member.network.spec.match(there) for member in members)
    return Pattern(rows, tuple(columns), there, plans)


def describe_missing(plan: BandPlan | BandChoice) -> str:
    """Which wanted bands are missing, in a phrase."""
    names = [entry.wanted.describe() for entry in plan.missing]
    shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    # One of them would do.
    return f"all of {shown}" if isinstance(plan, BandChoice) and len(names) > 1 else shown
