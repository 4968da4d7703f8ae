"""Which channels of a stack are like known ones, for a network that takes any of those it knows.

Shapes: `...` any leading axes, C given, T taken, K known channels, H and W pixels.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

from sensors._matching import MissingBand
from sensors.bands import Channel
from sensors.plan import BandPlan, MissingBandsError, refuse_twins

ArrayT = TypeVar("ArrayT")  # a numpy array or a torch tensor: this package imports neither's names


@dataclass(frozen=True)
class BandChoice:
    """Those of a stack's channels that are like a known one, each as it is.

    The counterpart of `BandPlan`, which makes known channels of given ones: here a given channel
    stays what it is, and is told which known ones it is like. What is alike is decided by the same
    rules, with the two in each other's place. So a broad band may be like a mix of narrow known
    ones, and one of another quantity is like none.

    Args:
        known: The channels that a network knows (K).
        given: The channels of the stack (C).
        columns: Numbers of the given channels that are taken (T), in the order of `given`.
        plan: How known channels serve the taken ones.
    """

    known: tuple[Channel, ...]
    given: tuple[Channel, ...]
    columns: tuple[int, ...]
    plan: BandPlan

    @classmethod
    def match(cls, known: Iterable[Channel], given: Iterable[Channel]) -> "BandChoice":
        """Find the given channels that are like a known one.

        Args:
            known: Channels that a network knows, all different.
            given: Channels there are, all different.

        Raises:
            InputError: If a channel is there twice.
        """
        return cls(*_solve(tuple(known), tuple(given)))

    @property
    def bands(self) -> tuple[Channel, ...]:
        """The channels that are taken, in the order of `given`."""
        return self.plan.wanted

    @property
    def is_applicable(self) -> bool:
        """Whether there is any."""
        return bool(self.columns)

    @property
    def missing(self) -> tuple[MissingBand, ...]:
        """The known channels that none of the taken ones is like, in the order of `known`."""
        found = {number for match in self.plan.matches for number in match.sources}
        return tuple(
            MissingBand(channel, None, 0.0, "no given band is like it")
            for number, channel in enumerate(self.known)
            if number not in found
        )

    @property
    def fit(self) -> tuple[float, float]:
        """Mean overlap of the known channels with what is like them, and share of `given` taken."""
        best: dict[int, float] = {}
        for match in self.plan.matches:
            for number in match.sources:
                best[number] = max(match.overlap, best.get(number, 0.0))
        return sum(best.values()) / len(self.known), len(self.columns) / len(self.given)

    def require(self) -> "BandChoice":
        """This choice.

        Raises:
            MissingBandsError: If no given channel is like a known one; the message names all.
        """
        if not self.columns:
            given, known = (
                ", ".join(channel.describe() for channel in channels) or "none"
                for channels in (self.given, self.known)
            )
            raise MissingBandsError(
                f"none of the given bands ({given}) is like one of those that are known ({known});"
                " give an image that has one of these, or use a model that knows the image's",
                self.missing,
            )
        return self

    def apply(self, x: ArrayT) -> ArrayT:
        """The taken channels of a stack of given ones.

        Args:
            x: `(..., C, H, W)`; a numpy array or a torch tensor, of pixels or of their validity.

        Returns:
            `(..., T, H, W)`; `x` itself where all are taken.
        """
        if len(self.columns) == len(self.given):
            return x
        stack: Any = x
        return stack[..., list(self.columns), :, :]  # type: ignore[no-any-return]

    def look_up(self, values: ArrayT) -> ArrayT:
        """What is known of known channels, such as their means, for the taken ones.

        Args:
            values: `(..., K, H, W)`.

        Returns:
            `(..., T, H, W)`; of a channel that is like a mix, the weighted mean.
        """
        return self.plan.apply(values)


@lru_cache(maxsize=1024)
def _solve(
    known: tuple[Channel, ...], given: tuple[Channel, ...]
) -> tuple[tuple[Channel, ...], tuple[Channel, ...], tuple[int, ...], BandPlan]:
    refuse_twins(given)
    unlike = {entry.wanted for entry in BandPlan.match(given, known).missing}
    columns = tuple(c for c, channel in enumerate(given) if channel not in unlike)
    plan = BandPlan.match([given[c] for c in columns], known)
    return known, given, columns, plan
