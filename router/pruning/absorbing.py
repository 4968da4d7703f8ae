"""What a member said is said by those that stay, as far as they can: a distillation in closed form.

A fused level is linear in what its members say (`Fusion.stack`). When one goes, the weights of the
others are those that come nearest to the fused levels before, on unlabelled chips, by ridge
regression towards the weights that they had.

Shape suffixes: P places (pixels of levels), C what is stacked, D width of a fused level.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from router.pruning.parts import Parts
from router.pruning.recording import Recording

CHIPS = 256
"""Chips that are looked at, at most."""
PLACES = 8192
"""Places of each level, over all of these chips, at most."""
_BATCH = 32
_RIDGE = 1e-4  # of the mean variance of what is stacked


@dataclass(frozen=True)
class Wanted:
    """What the fused levels of an ensemble are, at some places.

    Args:
        rows: The chips.
        places: For each level, numbers of its places over all of these chips.
        values_PD: For each level, what the ensemble says there.
    """

    rows: Tensor
    places: list[Tensor]
    values_PD: list[Tensor]


@torch.no_grad()
def want(parts: Parts, recording: Recording, seed: int = 0) -> Wanted:
    """Note the fused levels of an ensemble.

    Args:
        parts: Of the ensemble.
        recording: Of the training chips.
        seed: Which chips and places are drawn.
    """
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randperm(len(recording), generator=generator)[:CHIPS].sort().values
    found: list[list[Tensor]] = []
    for batch in torch.split(rows, _BATCH):
        _, levels = parts(recording, batch)
        found.append([_as_rows(level) for level in levels])
    whole = [torch.cat(of_level) for of_level in zip(*found, strict=True)]
    places = [
        torch.randperm(len(level), generator=generator)[:PLACES].sort().values for level in whole
    ]
    values = [level[chosen] for level, chosen in zip(whole, places, strict=True)]
    return Wanted(rows, places, values)


@torch.no_grad()
def absorb(parts: Parts, recording: Recording, wanted: Wanted) -> None:
    """Change the fusion's weights so that its levels come near to those wanted.

    The fusion `attention` is not linear in its members, and is left as it is.

    Args:
        parts: Those that stay.
        recording: Of the training chips.
        wanted: Of the ensemble before.
    """
    if parts.spec.fusion == "attention":
        return
    stacks: list[list[Tensor]] = [[] for _ in parts.spec.reductions]
    for batch in torch.split(wanted.rows, _BATCH):
        sources = parts.sources(recording, batch)
        for level, stacked in enumerate(stacks):
            stacked.append(_as_rows(parts.fusion.stack(sources, level, len(batch), recording.size)))
    for level, stacked in enumerate(stacks):
        stack_PC = torch.cat(stacked)[wanted.places[level]].double()
        matrix_DC = parts.fusion.matrix(level).double()
        bias_D = parts.fusion.bias[level].double()
        missing_PD = wanted.values_PD[level].double() - stack_PC @ matrix_DC.T - bias_D
        change_DC, shift_D = _ridge(stack_PC, missing_PD)
        parts.fusion.set_matrix(level, (matrix_DC + change_DC).float(), (bias_D + shift_D).float())


def _ridge(stack_PC: Tensor, missing_PD: Tensor) -> tuple[Tensor, Tensor]:
    """The smallest change of weights, and of the bias, that explains what is missing."""
    mean_C, mean_D = stack_PC.mean(0), missing_PD.mean(0)
    centered_PC = stack_PC - mean_C
    penalty = _RIDGE * float(centered_PC.square().mean()) * len(centered_PC)
    if penalty == 0:
        return missing_PD.new_zeros(missing_PD.shape[1], stack_PC.shape[1]), mean_D
    few = len(centered_PC) < centered_PC.shape[1]
    gram = centered_PC @ centered_PC.T if few else centered_PC.T @ centered_PC
    gram.diagonal().add_(penalty)
    # Either way the solution is the same: the smaller system is solved.
    factor = torch.linalg.cholesky(gram)
    missing_PD = missing_PD - mean_D
    if few:
        change_CD = centered_PC.T @ torch.cholesky_solve(missing_PD, factor)
    else:
        change_CD = torch.cholesky_solve(centered_PC.T @ missing_PD, factor)
    return change_CD.T, mean_D - mean_C @ change_CD


def _as_rows(level: Tensor) -> Tensor:
    """(n, C, H, W) as one row a place."""
    return level.movedim(1, -1).flatten(0, 2)
