"""One wanted channel against all given ones.

Every choice is made on the given channels in a canonical order (by physics, then name), so that
the order in which they were given can never matter, not even in the last bit.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sensors._overlap import best_mix, overlap
from sensors.bands import Band, Channel, SarChannel

_MIX_REACH = 0.75  # full widths from the wanted centre within which a mix takes its bands
_MIX_GAIN = 0.1  # overlap that a mix must gain over the best single band
_FREQUENCY_TOLERANCE = 0.05  # one radar band: Sentinel-1 and RCM at 5.405 GHz, Envisat at 5.331


@dataclass(frozen=True)
class BandMatch:
    """What serves one wanted channel.

    Args:
        wanted: The wanted channel.
        sources: Indices into the given channels, one or (for a mix) several.
        weights: One weight a source; they sum to 1.
        overlap: Spectral overlap of the wanted response and that of the sources, 0..1; for radar 1
            less the relative difference of frequency.
    """

    wanted: Channel
    sources: tuple[int, ...]
    weights: tuple[float, ...]
    overlap: float


@dataclass(frozen=True)
class MissingBand:
    """A wanted channel that nothing given serves.

    Args:
        wanted: The wanted channel.
        nearest: The given channel that comes nearest, None if there is none of its kind.
        overlap: Spectral overlap of the two, 0..1 (0 for radar).
        reason: Why the nearest does not serve, in words.
    """

    wanted: Channel
    nearest: Channel | None
    overlap: float
    reason: str


@dataclass(frozen=True)
class _Candidate:
    index: int  # among the given channels
    band: Band
    overlap: float  # with the wanted band


def serve_all(
    wanted: Sequence[Channel], given: Sequence[Channel], min_overlap: float
) -> list[BandMatch | MissingBand]:
    """For each wanted channel what serves it, or why nothing does."""
    ordered = sorted(enumerate(given), key=lambda pair: _canonical(pair[1]))
    bands = [(index, c) for index, c in ordered if isinstance(c, Band)]
    radar = [(index, c) for index, c in ordered if isinstance(c, SarChannel)]
    return [
        _serve_radar(channel, radar)
        if isinstance(channel, SarChannel)
        else _serve_optical(channel, bands, min_overlap)
        for channel in wanted
    ]


def _serve_optical(
    wanted: Band, given: Sequence[tuple[int, Band]], min_overlap: float
) -> BandMatch | MissingBand:
    equal = [(index, band) for index, band in given if _same_response(wanted, band)]
    if equal:
        index, _ = min(equal, key=lambda pair: _preference(wanted, pair[1]))
        return BandMatch(wanted, (index,), (1.0,), 1.0)
    near = [_Candidate(index, band, overlap(wanted, band)) for index, band in given]
    alike = [c for c in near if c.band.quantity == wanted.quantity]
    if alike:
        # Rounded, so that overlaps equal but for the last bit are a tie.
        best = min(alike, key=lambda c: (-round(c.overlap, 9), *_preference(wanted, c.band)))
        match = _mixed(wanted, alike, least=best.overlap + _MIX_GAIN)
        match = match or BandMatch(wanted, (best.index,), (1.0,), best.overlap)
        if match.overlap >= min_overlap:
            return match
    return _missing_optical(wanted, near, min_overlap)


def _mixed(wanted: Band, alike: Iterable[_Candidate], least: float) -> BandMatch | None:
    """The best mix of bands that lie in the wanted one, if it overlaps by `least` or more.

    Bands farther out would get weight only for the tails of the Gaussian, which real responses do
    not have (a TM green band would take a quarter of its light from a blue one).
    """
    if least > 1:
        return None
    reach = _MIX_REACH * wanted.full_width_half_max
    parts: dict[tuple[float, float], _Candidate] = {}  # one for each response: the best suited
    for part in alike:
        if abs(part.band.center_wavelength - wanted.center_wavelength) <= reach:
            response = part.band.center_wavelength, part.band.full_width_half_max
            rival = parts.setdefault(response, part)
            if _preference(wanted, part.band) < _preference(wanted, rival.band):
                parts[response] = part
    if len(parts) < 2:
        return None
    weights, area = best_mix(wanted, [part.band for part in parts.values()])
    if area < least:
        return None
    used = [(p.index, w) for p, w in zip(parts.values(), weights, strict=True) if w > 0]
    return BandMatch(wanted, tuple(i for i, _ in used), tuple(w for _, w in used), area)


def _missing_optical(wanted: Band, near: Sequence[_Candidate], min_overlap: float) -> MissingBand:
    if not near:
        return MissingBand(wanted, None, 0.0, "no optical band was given")

    def distance(candidate: _Candidate) -> float:
        return abs(candidate.band.center_wavelength - wanted.center_wavelength)

    alike = [c for c in near if c.band.quantity == wanted.quantity]
    unlike = [c for c in near if c.band.quantity != wanted.quantity and c.overlap >= min_overlap]
    nearest = min(unlike or alike or near, key=distance)
    if nearest.band.quantity != wanted.quantity:
        reason = (
            f"{nearest.band.describe()} is {distance(nearest):.3g} um away, but measures "
            f"{nearest.band.quantity}, not {wanted.quantity}"
        )
    else:
        reason = (
            f"the nearest, {nearest.band.describe()}, is {distance(nearest):.3g} um away and "
            f"overlaps by {nearest.overlap:.2f} of the {min_overlap:.2f} needed"
        )
    return MissingBand(wanted, nearest.band, nearest.overlap, reason)


def _serve_radar(
    wanted: SarChannel, given: Sequence[tuple[int, SarChannel]]
) -> BandMatch | MissingBand:
    if not given:
        return MissingBand(wanted, None, 0.0, "no radar channel was given")

    def detuning(channel: SarChannel) -> float:
        return abs(channel.center_frequency / wanted.center_frequency - 1)

    def rank(pair: tuple[int, SarChannel]) -> tuple[bool, float, float, bool, str]:
        other = pair[1].polarization != wanted.polarization
        return other, detuning(pair[1]), *_preference(wanted, pair[1])

    index, nearest = min(given, key=rank)
    if nearest.polarization == wanted.polarization and detuning(nearest) <= _FREQUENCY_TOLERANCE:
        return BandMatch(wanted, (index,), (1.0,), 1 - detuning(nearest))
    reason = f"the nearest is {nearest.describe()}; polarisation and frequency must both agree"
    return MissingBand(wanted, nearest, 0.0, reason)


def _same_response(wanted: Band, band: Band) -> bool:
    return (
        band.center_wavelength == wanted.center_wavelength
        and band.full_width_half_max == wanted.full_width_half_max
        and band.quantity == wanted.quantity
    )


def _preference(wanted: Channel, channel: Channel) -> tuple[float, bool, str]:
    """Lower is better among equals: the nearest gsd, then the same name, then the name."""
    if channel.gsd == wanted.gsd:
        ratio = 0.0
    elif channel.gsd is None or wanted.gsd is None:
        ratio = math.inf
    else:
        ratio = abs(math.log(channel.gsd / wanted.gsd))
    return ratio, channel.name != wanted.name, channel.name


def _canonical(channel: Channel) -> tuple[float, float, str, str, float, str]:
    gsd = math.inf if channel.gsd is None else channel.gsd
    if isinstance(channel, SarChannel):
        return channel.center_frequency, 0.0, channel.polarization, channel.name, gsd, ""
    return (
        channel.center_wavelength,
        channel.full_width_half_max,
        channel.quantity,
        channel.name,
        gsd,
        channel.common_name or "",
    )
