"""What one channel of an image measures.

An input is a stack of channels, and every channel says what it measures: an optical or thermal
`Band` by its spectral response, a radar `SarChannel` by its polarisation and frequency. Nothing is
ever decided by a position or a channel count.
"""

import math
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from sensors.errors import InputError

Quantity = Literal["reflectance", "brightness", "temperature", "backscatter"]

UNITS: dict[Quantity, str] = {
    "reflectance": "1",  # 0..1, top of atmosphere or surface
    "brightness": "1",  # 0..1, an uncalibrated picture: it looks like reflectance and is not
    "temperature": "K",  # kelvin
    "backscatter": "dB",  # sigma0 in decibels
}
POLARIZATIONS = ("VV", "VH", "HH", "HV")


@dataclass(frozen=True)
class Band:
    """An optical or thermal band.

    Stored numbers become physical ones by `stored * scale + offset`; `nodata` is a stored number.

    Args:
        name: Name within the sensor, such as `B04`.
        center_wavelength: Centre of the response in micrometres, 0.3 to 15.
        full_width_half_max: Width of the response in micrometres.
        gsd: Ground sample distance in metres.
        common_name: STAC EO common name (`red`, `nir`, ...).
        quantity: What a pixel measures; a plan never mixes quantities.
        scale, offset: From stored to physical numbers.
        nodata: Stored number that means "nothing measured here".

    Raises:
        InputError: If a number is outside what its unit allows (a wavelength in nanometres).
    """

    name: str
    center_wavelength: float
    full_width_half_max: float
    gsd: float | None = None
    common_name: str | None = None
    quantity: Quantity = "reflectance"
    scale: float = field(default=1.0, compare=False)
    offset: float = field(default=0.0, compare=False)
    nodata: float | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        _check_common(self)
        if not 0.3 <= self.center_wavelength <= 15:
            raise InputError(
                f"band {self.name}: center_wavelength {self.center_wavelength} is outside 0.3..15; "
                "give micrometres (665 nm is 0.665)"
            )
        if not 0 < self.full_width_half_max < self.center_wavelength * 2:
            raise InputError(
                f"band {self.name}: full_width_half_max {self.full_width_half_max} is not a width "
                f"in micrometres for a band at {self.center_wavelength} um"
            )
        if self.quantity not in ("reflectance", "brightness", "temperature"):
            raise InputError(
                f"band {self.name}: quantity {self.quantity!r} is not one of "
                "reflectance, brightness, temperature"
            )
        if self.quantity == "temperature" and self.center_wavelength < 3:
            raise InputError(
                f"band {self.name}: a temperature band lies at 3 um or more, "
                f"got {self.center_wavelength} um"
            )

    @property
    def unit(self) -> str:
        """Unit of a physical pixel."""
        return UNITS[self.quantity]

    def describe(self) -> str:
        """Name and physics in one phrase, for messages and tables."""
        return (
            f"{self.name} ({self.center_wavelength:.4g} um, "
            f"FWHM {self.full_width_half_max:.3g} um, {self.quantity})"
        )


@dataclass(frozen=True)
class SarChannel:
    """A radar channel: backscatter sigma0 in decibels.

    Args:
        name: Name within the sensor, such as `VV`.
        polarization: `VV`, `VH`, `HH` or `HV` (transmit, receive).
        center_frequency: Radar frequency in GHz (C band 5.405).
        gsd: Ground sample distance in metres.
        scale, offset, nodata: As for `Band`.

    Raises:
        InputError: If the polarisation is unknown or the frequency is not in GHz.
    """

    name: str
    polarization: str
    center_frequency: float
    gsd: float | None = None
    quantity: Quantity = "backscatter"
    scale: float = field(default=1.0, compare=False)
    offset: float = field(default=0.0, compare=False)
    nodata: float | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        _check_common(self)
        if self.polarization not in POLARIZATIONS:
            raise InputError(
                f"channel {self.name}: polarization {self.polarization!r} is not one of "
                f"{', '.join(POLARIZATIONS)}"
            )
        if not 0.1 <= self.center_frequency <= 100:
            raise InputError(
                f"channel {self.name}: center_frequency {self.center_frequency} is outside "
                "0.1..100; give GHz (Sentinel-1 is 5.405)"
            )
        if self.quantity != "backscatter":
            raise InputError(
                f"channel {self.name}: a radar channel measures backscatter, got {self.quantity!r}"
            )

    @property
    def unit(self) -> str:
        """Unit of a physical pixel."""
        return UNITS[self.quantity]

    def describe(self) -> str:
        """Name and physics in one phrase, for messages and tables."""
        return f"{self.name} ({self.polarization} at {self.center_frequency:.4g} GHz)"


Channel = Band | SarChannel


def _check_common(channel: "Channel") -> None:
    if not channel.name:
        raise InputError("a channel needs a name")
    for entry in fields(channel):
        value = getattr(channel, entry.name)
        if isinstance(value, float) and not math.isfinite(value):
            advice = "; leave it out, NaN is never data" if entry.name == "nodata" else ""
            raise InputError(
                f"channel {channel.name}: {entry.name} is {value}, expected a finite number{advice}"
            )
    if channel.gsd is not None and channel.gsd <= 0:
        raise InputError(f"channel {channel.name}: gsd {channel.gsd} is not a distance in metres")
    if channel.scale == 0:
        raise InputError(f"channel {channel.name}: scale 0 would erase every pixel")


def channel_to_dict(channel: Channel) -> dict[str, Any]:
    """Plain JSON form of a channel; `channel_from_dict` is its inverse."""
    kind = "optical" if isinstance(channel, Band) else "radar"
    return {"kind": kind} | {
        f.name: getattr(channel, f.name)
        for f in fields(channel)
        if getattr(channel, f.name) is not None
    }


def channel_from_dict(record: dict[str, Any]) -> Channel:
    """Build a channel from `channel_to_dict`'s form.

    Raises:
        InputError: If the kind or a field is unknown, or a value fails the channel's own checks.
    """
    entries = dict(record)
    kind = entries.pop("kind", "radar" if "polarization" in entries else "optical")
    if kind not in ("optical", "radar"):
        raise InputError(f"channel kind {kind!r} is not one of optical, radar")
    try:
        return Band(**entries) if kind == "optical" else SarChannel(**entries)
    except TypeError as error:
        raise InputError(f"channel {record.get('name', '?')}: {error}") from error
