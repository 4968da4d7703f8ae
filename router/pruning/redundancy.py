"""Who says what others say, too: the redundancy of an ensemble's members on given data.

Four views of each member: how often the gate asks it; how alike its features and each other
member's are (linear centred kernel alignment, Kornblith et al. 2019, arXiv 1905.00414, section 3,
with the unbiased estimate of Song et al. 2012 as in Nguyen et al. 2021, arXiv 2010.15327, equation
3, since places are few beside features); how much its features add to a linear probe on those of
the others; and what the ensemble loses without it.

Shape suffixes: P places, M members, D features, K targets.
"""

from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from sklearn.linear_model import RidgeCV
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from rasters import IGNORE_INDEX
from rasters.progress import show_progress
from router.pruning.parts import Parts
from router.pruning.recording import Recording
from router.pruning.scoring import Worth, judge
from router.pruning.search import Search
from specialists.task_spec import TaskSpec

_PLACES = 1500  # the Gram matrices of more take long, and say the same
_PENALTIES = np.logspace(-2, 6, 9)


@dataclass(frozen=True)
class Redundancy:
    """What was found.

    Args:
        members: References, in the ensemble's order.
        usage: Mean weight of each in the gate, over the selection split.
        asked: Share of its chips that run each.
        can_run: Share of its chips that each could run for.
        alignment: For each level, finest first, the linear CKA of every pair of members, (M, M); 1
            where two say the same up to a rotation, NaN where one cannot run.
        complement: By how much the share of the labels' variance that a linear probe explains (R2
            on the selection split) falls without each member's features; NaN where it cannot run.
        losses: By how much the ensemble's own score falls without each, the others having taken
            over what they can.
        worth: Of the whole ensemble.
    """

    members: tuple[str, ...]
    usage: dict[str, float]
    asked: dict[str, float]
    can_run: dict[str, float]
    alignment: list[NDArray[np.float64]]
    complement: dict[str, float]
    losses: dict[str, float]
    worth: Worth

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON form; what is not known is None."""
        alignment = [_plain(level_MM.tolist()) for level_MM in self.alignment]
        complement = {name: _plain(value) for name, value in self.complement.items()}
        return vars(self) | {
            "members": list(self.members),
            "alignment": alignment,
            "complement": complement,
            "worth": vars(self.worth),
        }

    @property
    def mean_alignment(self) -> NDArray[np.float64]:
        """Mean over the levels, (M, M)."""
        mean_MM: NDArray[np.float64] = np.mean(self.alignment, axis=0)
        return mean_MM

    def most_alike(self, member: str) -> tuple[str, float] | None:
        """The other member whose features are most like this one's, and how much."""
        place = self.members.index(member)
        row_M = self.mean_alignment[place].copy()
        row_M[place] = np.nan
        if np.isnan(row_M).all():
            return None
        nearest = int(np.nanargmax(row_M))
        return self.members[nearest], float(row_M[nearest])


@torch.no_grad()
def measure_redundancy(search: Search, seed: int = 0) -> Redundancy:
    """Look at every member of an ensemble from four sides.

    Args:
        search: Of the ensemble.
        seed: Which places are drawn.
    """
    parts, selection = search.whole, search.selection
    routing = parts.route(selection, torch.arange(len(selection)))
    weights_NM, can_run_NM = routing.weights_BM, routing.applicable_BM
    names = parts.references
    able = [name for name, able in zip(names, can_run_NM.any(0).tolist(), strict=True) if able]
    tried = search.leave_one_out(parts) if len(names) > 1 else {}
    worth = judge(parts, selection)
    return Redundancy(
        members=names,
        usage=_named(names, weights_NM.mean(0)),
        asked=_named(names, (weights_NM > 0).float().mean(0)),
        can_run=_named(names, can_run_NM.float().mean(0)),
        alignment=_align(parts, selection, able, seed),
        complement=_complement(search, able, seed),
        losses={name: found.drop(worth) for name, (_, found) in tried.items()},
        worth=worth,
    )


def _named(names: tuple[str, ...], values_M: Tensor) -> dict[str, float]:
    return dict(zip(names, values_M.tolist(), strict=True))


def _align(
    parts: Parts, recording: Recording, able: list[str], seed: int
) -> list[NDArray[np.float64]]:
    """CKA of every pair at every level."""
    keys = {member.reference: member.key for member in parts.members}
    alignment = []
    for level, _ in show_progress(list(enumerate(parts.spec.reductions)), "Alignment"):
        pyramids = {name: recording.levels[keys[name]] for name in able}
        maps = {name: levels[min(level, len(levels) - 1)] for name, levels in pyramids.items()}
        # Members with other reductions are compared at the same places.
        grid = min([4, *(size for of_level in maps.values() for size in of_level.shape[-2:])])
        grams = {name: _gram(of_level, grid, seed) for name, of_level in maps.items()}
        of_level_MM = np.full((len(keys), len(keys)), np.nan)
        places = {name: place for place, name in enumerate(keys)}
        for first, second in combinations_with_replacement(grams, 2):
            row, column = places[first], places[second]
            alike = _cka(grams[first], grams[second])
            of_level_MM[row, column] = of_level_MM[column, row] = alike
        alignment.append(of_level_MM)
    return alignment


def _gram(level_NDHW: NDArray[np.float32], grid: int, seed: int) -> Tensor:
    """Products of a member's features at places of a grid, without those with themselves."""
    values = torch.from_numpy(np.array(level_NDHW))
    rows_PD = F.adaptive_avg_pool2d(values, grid).movedim(1, -1).flatten(0, 2).double()
    generator = torch.Generator().manual_seed(seed)
    rows_PD = rows_PD[torch.randperm(len(rows_PD), generator=generator)[:_PLACES]]
    rows_PD = rows_PD - rows_PD.mean(0)
    gram_PP = rows_PD @ rows_PD.T
    gram_PP.fill_diagonal_(0)
    return gram_PP


def _cka(first_PP: Tensor, second_PP: Tensor) -> float:
    cross = _hsic(first_PP, second_PP)
    scale = _hsic(first_PP, first_PP) * _hsic(second_PP, second_PP)
    return cross / scale**0.5 if scale > 0 else float("nan")


def _hsic(first_PP: Tensor, second_PP: Tensor) -> float:
    """Song et al. 2012, equation 5, for matrices whose diagonal is 0."""
    count = len(first_PP)
    if count < 4:
        return float("nan")
    total = (first_PP * second_PP).sum()
    sums = first_PP.sum() * second_PP.sum() / ((count - 1) * (count - 2))
    rows = 2 * (first_PP.sum(0) @ second_PP.sum(0)) / (count - 2)
    return float((total + sums - rows) / (count * (count - 3)))


def _complement(search: Search, able: list[str], seed: int) -> dict[str, float]:
    """What each member's features add to a ridge regression of the labels on the others'."""
    task = search.whole.task[0].spec
    keys = {member.reference: member.key for member in search.whole.members}
    found = {name: float("nan") for name in keys}
    train = _samples(search.train, task, [keys[name] for name in able], seed)
    selection = _samples(search.selection, task, [keys[name] for name in able], seed)
    whole = _explain(train, selection, [keys[name] for name in able])
    for name in show_progress(able, "What members add"):
        others = [keys[other] for other in able if other != name]
        found[name] = whole - _explain(train, selection, others)
    return found


Samples = tuple[dict[str, NDArray[np.float32]], NDArray[np.float32]]


def _samples(recording: Recording, task: TaskSpec, keys: list[str], seed: int) -> Samples:
    """Each member's features and the labels, at chips or at places of the finest level."""
    generator = torch.Generator().manual_seed(seed)
    if not task.is_per_pixel:
        rows = torch.randperm(len(recording), generator=generator)[:_PLACES].sort().values
        features = {
            key: torch.cat([level.mean((2, 3)) for level in recording.read(key, rows)], 1).numpy()
            for key in keys
        }
        return features, _labels(recording.targets[rows], task).numpy()
    rows = torch.randperm(len(recording), generator=generator)[:256].sort().values
    targets = recording.targets[rows]
    if targets.ndim == 3:
        targets = targets[:, None]
    height, width = recording.chip_size
    row_p = torch.arange(2, height, 4)
    column_p = torch.arange(2, width, 4)
    places_PK = targets[:, :, row_p][..., column_p].movedim(1, -1).flatten(0, 2)
    known_P = (
        places_PK.isfinite().all(1)
        if places_PK.is_floating_point()
        else (places_PK != IGNORE_INDEX).all(1)
    )
    chosen = known_P.nonzero()[:, 0]
    chosen = chosen[torch.randperm(len(chosen), generator=generator)[:_PLACES]]
    features = {}
    for key in keys:
        levels = [
            _at(level, recording.size, row_p, column_p)[chosen]
            for level in recording.read(key, rows)
        ]
        features[key] = torch.cat(levels, 1).numpy()
    labels = places_PK[chosen]
    labels = labels if labels.is_floating_point() else labels[:, 0]
    return features, _labels(labels, task).numpy()


def _at(level: Tensor, size: tuple[int, int], row_p: Tensor, column_p: Tensor) -> Tensor:
    """What a level says of some pixels, (P, C): that of the cell each lies in."""
    rows = row_p * level.shape[-2] // size[0]
    columns = column_p * level.shape[-1] // size[1]
    return level[:, :, rows][..., columns].movedim(1, -1).flatten(0, 2)


def _labels(targets: Tensor, task: TaskSpec) -> Tensor:
    """Targets as numbers, (P, K)."""
    if targets.is_floating_point():
        return targets.reshape(len(targets), -1).float().nan_to_num()
    return F.one_hot(targets.long(), len(task.classes)).float()


def _explain(train: Samples, selection: Samples, keys: list[str]) -> float:
    """R2 of the labels of the selection split; 0 without any feature."""
    if not keys or not len(train[1]) or not len(selection[1]):
        return 0.0
    fitted = np.concatenate([train[0][key] for key in keys], axis=1)
    scaler = StandardScaler().fit(fitted)
    probe = RidgeCV(_PENALTIES).fit(scaler.transform(fitted), train[1])
    asked = scaler.transform(np.concatenate([selection[0][key] for key in keys], axis=1))
    predicted = probe.predict(asked).reshape(selection[1].shape)
    wrong = np.square(selection[1] - predicted).sum()
    spread = np.square(selection[1] - train[1].mean(0)).sum()
    return float(1 - wrong / spread) if spread else 0.0


def _plain(value: Any) -> Any:  # noqa: ANN401 - nested lists
    if isinstance(value, list):
        return [_plain(entry) for entry in value]
    return None if np.isnan(value) else value
