"""The search for the members that stay: backward, one at a time, and all choices as a check."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import combinations
from pathlib import Path
from typing import Any

import torch

from rasters.progress import show_progress
from router.pruning.absorbing import Wanted, absorb, want
from router.pruning.budget import TOLERATED
from router.pruning.parts import Parts
from router.pruning.recording import Recording
from router.pruning.scoring import Refit, Worth, judge, refit
from sensors.errors import InputError
from specialists.cost import count_call_macs
from specialists.run import write_json

MOST_EXHAUSTIVE = 10
"""Members of which all choices are tried, at most: 1,023 of them."""


@dataclass(frozen=True)
class Step:
    """One step of the search.

    Args:
        removed: Who went; None for the start, the whole ensemble with fusion and head fitted again.
        members: References of those that are left.
        worth: On the selection split, after fusion and head were fitted again.
        losses: What each member's going would have cost in score at this step, before that.
    """

    removed: str | None
    members: tuple[str, ...]
    worth: Worth
    losses: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON form."""
        return vars(self) | {"members": list(self.members), "worth": vars(self.worth)}

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> "Step":
        """Inverse of `to_dict`."""
        members, worth = tuple(record["members"]), Worth(**record["worth"])
        return cls(**{**record, "members": members, "worth": worth})


@dataclass(frozen=True)
class Search:
    """What a search works on.

    Args:
        whole: Of the whole ensemble.
        train: What was recorded of the training chips.
        selection: Of the chips that decide.
        settings: Of the fitting of fusion and head after each step.
        folder: Where steps are kept; those that are there are not done again.
        tolerated: Loss of score, up to which it counts what a member costs.
    """

    whole: Parts
    train: Recording
    selection: Recording
    settings: Refit
    folder: Path
    tolerated: float = TOLERATED

    def go(self, keep: Sequence[str] = ()) -> list[tuple[Step, Parts]]:
        """Remove the member that is missed least, again and again, until one is left.

        A member's going is judged after the others have taken over what it said
        (`router.pruning.absorbing`). Of those without whom no more score is lost than tolerated,
        the one goes whose share of the members' multiply-adds is largest, less the share by which
        the loss grows without it; where there is none, the one whose going costs least in score,
        of equal ones in loss. After each step fusion and head are fitted again, and so they are at
        the start, that what is removed is compared with an ensemble that was given as much.

        Args:
            keep: References of members that stay, beside one that can go.

        Returns:
            The start, and every step.
        """
        path: list[tuple[Step, Parts]] = []
        most = len(self.whole.members) - len(keep)
        for number in show_progress(range(most), "Members removed"):
            before = path[-1][1] if path else self.whole
            if path and not self._may_go(before, keep):
                break
            found = self._read(number, before)
            if found is None:
                found = self._take([step for step, _ in path], before, keep)
                self._keep(number, *found)
            path.append(found)
        return path

    def leave_one_out(
        self, parts: Parts, keep: Sequence[str] = ()
    ) -> dict[str, tuple[Parts, Worth]]:
        """For each member that may go: the ensemble without it, and what that is worth."""
        candidates = self._may_go(parts, keep)
        wanted = want(parts, self.train, self.settings.seed)
        return {
            name: self._try(parts.without(name), wanted)
            for name in show_progress(candidates, f"One of {len(parts.members)} left out")
        }

    def try_all(self, keep: Sequence[str] = ()) -> dict[tuple[str, ...], Worth]:
        """Every choice of members, judged as single steps are before fusion and head are fitted.

        Raises:
            InputError: If there are too many.
        """
        names = self.whole.references
        if len(names) > MOST_EXHAUSTIVE:
            raise InputError(
                f"{len(names)} members have {2 ** len(names) - 1:,} choices; all are tried for up "
                f"to {MOST_EXHAUSTIVE} members: leave out exhaustive=true"
            )
        choices = [
            chosen
            for size in range(1, len(names))
            for chosen in combinations(names, size)
            if set(keep) < set(chosen)
        ]
        wanted = want(self.whole, self.train, self.settings.seed)
        return {
            chosen: self._try(self._only(chosen), wanted)[1]
            for chosen in show_progress(choices, "All choices")
        }

    def _may_go(self, parts: Parts, keep: Sequence[str]) -> list[str]:
        """Members without whom every chip still has someone, or a trunk, to answer for it."""
        names = [name for name in parts.references if name not in keep]
        if len(parts.members) < 2 or len(names) < 2:
            return []
        if parts.has_trunk:
            return names
        applicable_NM = torch.cat([self.train.applicable_NM, self.selection.applicable_NM])
        answered_NM = applicable_NM[:, parts.numbers()]
        places = {name: parts.references.index(name) for name in names}
        return [
            name
            for name, place in places.items()
            if answered_NM.index_fill(1, torch.tensor(place), False).any(1).all()
        ]

    def _only(self, chosen: Sequence[str]) -> Parts:
        parts = self.whole
        for name in self.whole.references:
            if name not in chosen:
                parts = parts.without(name)
        return parts

    def _try(self, left: Parts, wanted: Wanted) -> tuple[Parts, Worth]:
        """What an ensemble is worth when it has taken over what those who went had said."""
        absorb(left, self.train, wanted)
        return left, judge(left, self.selection)

    def _take(self, steps: Sequence[Step], parts: Parts, keep: Sequence[str]) -> tuple[Step, Parts]:
        """The next step, after those that were taken; the first one removes nobody."""
        if not steps:
            left = parts.copy()
            return Step(None, left.references, self._refit(left), {}), left
        start, before = steps[0].worth, steps[-1].worth
        tried = self.leave_one_out(parts, keep)
        worths = {name: worth for name, (_, worth) in tried.items()}
        removed = self._least_missed(worths, start, before)
        left = tried[removed][0]
        losses = {name: worth.drop(before) for name, worth in worths.items()}
        return Step(removed, left.references, self._refit(left), losses), left

    def _least_missed(self, tried: Mapping[str, Worth], start: Worth, before: Worth) -> str:
        fine = [name for name in tried if tried[name].drop(start) <= self.tolerated + 1e-9]
        if not fine:
            return max(tried, key=lambda name: tried[name].rank)
        total = sum(self._macs.values())
        return max(
            fine,
            key=lambda name: self._macs[name] / total - (tried[name].loss / before.loss - 1),
        )

    @cached_property
    def _macs(self) -> dict[str, int]:
        """Multiply-adds of each member for one chip."""
        found = {}
        for member in self.whole.members:
            network = member.network
            chip_BCHW = torch.zeros(1, len(network.bands), *self.train.chip_size)
            found[member.reference] = count_call_macs(partial(network.forward_features, chip_BCHW))
        return found

    def _refit(self, parts: Parts) -> Worth:
        return refit(parts, self.whole, self.train, self.selection, self.settings)

    def _keep(self, number: int, step: Step, parts: Parts) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        weights = self._file(number, ".pt")
        part = weights.with_suffix(".part")
        torch.save(parts.state_dict(), part)
        part.replace(weights)
        write_json(self._file(number, ".json"), step.to_dict())

    def _read(self, number: int, parts: Parts) -> tuple[Step, Parts] | None:
        file = self._file(number, ".json")
        if not file.exists():
            return None
        step = Step.from_dict(json.loads(file.read_text()))
        left = parts.copy() if step.removed is None else parts.without(step.removed)
        left.load_state_dict(torch.load(self._file(number, ".pt"), weights_only=True))
        return step, left

    def _file(self, number: int, suffix: str) -> Path:
        return self.folder / f"step_{number:02d}{suffix}"
