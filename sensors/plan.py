"""Which given band, or mix of given bands, serves each wanted one; by physics, never by position.

Shapes: `...` any leading axes, C given channels, K wanted channels, H and W pixels.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

from sensors._matching import BandMatch, MissingBand, serve_all
from sensors.bands import Channel
from sensors.errors import InputError

ArrayT = TypeVar("ArrayT")  # a numpy array or a torch tensor: this package imports neither's names

MIN_OVERLAP = 0.3


class MissingBandsError(InputError):
    """Wanted bands that nothing given can serve.

    Attributes:
        missing: One `MissingBand` for each.
    """

    def __init__(self, message: str, missing: tuple[MissingBand, ...] = ()) -> None:
        super().__init__(message)
        self.missing = missing


@dataclass(frozen=True)
class BandPlan:
    """How a stack of given channels becomes a stack of wanted ones.

    Optical bands are matched by the overlap of their spectral responses, taken as Gaussians of unit
    area from centre and full width at half maximum: the area under both, 1 for equal responses and
    0 for disjoint ones. One given band is chosen, or a mix of bands that lie within the wanted one,
    with positive weights that sum to 1, where the mixed response overlaps by 0.1 more than the best
    single one (narrow bands together serve a broad one). Radar channels are matched by
    polarisation, and by frequency within 5 %. A band of another quantity never matches. Of several
    equally good bands the one of the nearest gsd serves, then the one of the same name.

    The order of the given channels has no influence, nor have channels that do not overlap.

    Args:
        wanted: The channels to produce (K).
        given: The channels of the stack (C).
        matches: One for each wanted channel that can be served, in the order of `wanted`.
        missing: The wanted channels that cannot be served, in the order of `wanted`.
    """

    wanted: tuple[Channel, ...]
    given: tuple[Channel, ...]
    matches: tuple[BandMatch, ...]
    missing: tuple[MissingBand, ...]

    @classmethod
    def match(
        cls,
        wanted: Iterable[Channel],
        given: Iterable[Channel],
        *,
        min_overlap: float = MIN_OVERLAP,
    ) -> "BandPlan":
        """Find the given channels that serve the wanted ones.

        Two bands are taken for each other from an overlap of 0.3 on. Over the catalogue's sensors
        that is where counterparts and mere neighbours part: Landsat 8 SR_B5, narrow within the
        broad Sentinel-2 B08, overlaps it by 0.36 and MODIS B07 Sentinel-2's B12 by 0.32 (they
        serve, as both lie on the same plateau of a spectrum), while Landsat 7's green overlaps
        Sentinel-2's blue by 0.27, its near infrared the red edge B07 by 0.20 and its red the red
        edge B05 by 0.13 (they do not, as spectra rise or fall between the two). The price is that
        the broad near infrared of Landsat 5 and 7 (0.27) does not serve Sentinel-2's narrow B8A.

        Args:
            wanted: Channels to produce.
            given: Channels there are, all different.
            min_overlap: Least spectral overlap, 0..1, of a match between optical bands.

        Raises:
            InputError: If a given channel is there twice, so that none of the two is the one.
        """
        wanted, given = tuple(wanted), tuple(given)
        matches, missing = _solve(wanted, given, min_overlap)
        return cls(wanted, given, matches, missing)

    @property
    def is_applicable(self) -> bool:
        """Whether every wanted channel can be served."""
        return not self.missing

    @property
    def fit(self) -> tuple[float, float]:
        """Mean overlap of the wanted channels with what serves them, and share of `given` used."""
        used = {source for match in self.matches for source in match.sources}
        return (
            sum(match.overlap for match in self.matches) / len(self.wanted),
            len(used) / len(self.given),
        )

    def require(self) -> "BandPlan":
        """This plan.

        Raises:
            MissingBandsError: If a wanted channel is missing; the message names it, its wavelength
                and the nearest given one.
        """
        if self.missing:
            lines = (f"\n  {band.wanted.describe()}: {band.reason}" for band in self.missing)
            raise MissingBandsError(
                f"{len(self.missing)} of {len(self.wanted)} wanted bands are missing:"
                + "".join(lines)
                + "\ngive an image that has these bands (or name its layers, if it has them under "
                "another name), or use a model that does without them",
                self.missing,
            )
        return self

    def apply(self, x: ArrayT) -> ArrayT:
        """Turn a stack of given channels into one of wanted channels.

        Args:
            x: `(..., C, H, W)`, floating point, physical; a numpy array or a torch tensor.

        Returns:
            `(..., K, H, W)`; `x` itself where the wanted channels are the given ones in order.

        Raises:
            InputError: If x does not have C channels.
            MissingBandsError: If a wanted channel is missing.
        """
        stack, out = self._select(x)
        for k, match in enumerate(self.matches):
            if len(match.sources) > 1:
                parts = zip(match.weights, match.sources, strict=True)
                out[..., k, :, :] = sum(w * stack[..., c, :, :] for w, c in parts)
        return out  # type: ignore[no-any-return]

    def apply_valid(self, valid: ArrayT) -> ArrayT:
        """Turn the validity of given channels into that of wanted channels.

        Args:
            valid: bool `(..., C, H, W)`.

        Returns:
            bool `(..., K, H, W)`; a mix is valid where all of its sources are.

        Raises:
            InputError: If valid does not have C channels.
            MissingBandsError: If a wanted channel is missing.
        """
        stack, out = self._select(valid)
        for k, match in enumerate(self.matches):
            for c in match.sources[1:]:
                out[..., k, :, :] &= stack[..., c, :, :]
        return out  # type: ignore[no-any-return]

    def _select(self, x: ArrayT) -> tuple[Any, Any]:
        """The stack, and its first sources as a new stack (or the same one, if nothing changes)."""
        self.require()
        stack: Any = x
        if stack.shape[-3] != len(self.given):
            raise InputError(
                f"the stack has {stack.shape[-3]} channels (shape {tuple(stack.shape)}), but "
                f"{len(self.given)} bands were given for it; the shape is (..., channel, y, x)"
            )
        first = [match.sources[0] for match in self.matches]
        if first == list(range(len(self.given))) and all(len(m.sources) == 1 for m in self.matches):
            return stack, stack
        return stack, stack[..., first, :, :]


@lru_cache(maxsize=1024)
def _solve(
    wanted: tuple[Channel, ...], given: tuple[Channel, ...], min_overlap: float
) -> tuple[tuple[BandMatch, ...], tuple[MissingBand, ...]]:
    refuse_twins(given)
    served = serve_all(wanted, given, min_overlap)
    return (
        tuple(result for result in served if isinstance(result, BandMatch)),
        tuple(result for result in served if isinstance(result, MissingBand)),
    )


def refuse_twins(given: tuple[Channel, ...]) -> None:
    """Refuse channels of which one is there twice.

    Raises:
        InputError: Names it.
    """
    seen: dict[Channel, int] = {}
    for number, channel in enumerate(given, start=1):
        first = seen.setdefault(channel, number)
        if first != number:
            raise InputError(
                f"the given band {channel.describe()} is there twice, as number {first} and "
                f"{number}; drop one of them"
            )
