"""How a trunk brings the pixels of any band to a common scale.

A band whose statistics the spec holds is normalised by these. Any other band lies between two known
ones: optical and thermal bands get statistics by linear interpolation over the wavelength among
known bands of the same quantity (the nearest one's beyond the ends), radar channels those of the
known channel of the same polarisation that is nearest in frequency. Where nothing of the kind is
known, round numbers for the quantity are taken.

Tensor shapes: C bands.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from router.trunk_spec import TrunkSpec
from sensors.bands import Band, Channel, Quantity, SarChannel

QUANTITY_STATISTICS: dict[Quantity, tuple[float, float]] = {
    "reflectance": (0.2, 0.15),
    "brightness": (0.45, 0.25),
    "temperature": (290.0, 15.0),
    "backscatter": (-14.0, 6.0),
}
"""Mean and standard deviation of a quantity over land, in round numbers, in its physical unit."""
_KEPT_BAND_LISTS = 64


def add_statistics(
    spec: TrunkSpec, bands: Sequence[Channel], mean: Sequence[float], std: Sequence[float]
) -> TrunkSpec:
    """The spec with statistics of further bands.

    Bands that it knows keep theirs, for the weights were learned with these.

    Args:
        spec: Of a trunk.
        bands: Bands, known ones perhaps among them.
        mean: Per band, in its physical unit.
        std: Standard deviation per band.
    """
    known = {band_identity(band) for band in spec.bands}
    new = [
        entry
        for entry in zip(bands, mean, std, strict=True)
        if band_identity(entry[0]) not in known
    ]
    return replace(
        spec,
        bands=(*spec.bands, *(band for band, _, _ in new)),
        mean=(*spec.mean, *(value for _, value, _ in new)),
        std=(*spec.std, *(value for _, _, value in new)),
    )


class BandScaling:
    """Mean and standard deviation of any band.

    Args:
        spec: Holds the known ones.
    """

    def __init__(self, spec: TrunkSpec) -> None:
        self._known = {
            band_identity(band): (mean, std)
            for band, mean, std in zip(spec.bands, spec.mean, spec.std, strict=True)
        }
        self._kept: dict[Any, tuple[Tensor, Tensor]] = {}

    def statistics(self, band: Channel) -> tuple[float, float]:
        """Mean and standard deviation of a band, in its physical unit."""
        identity = band_identity(band)
        if identity in self._known:
            return self._known[identity]
        kind, wanted = identity
        alike = sorted(
            (place, scale) for (other, place), scale in self._known.items() if other == kind
        )
        if not alike:
            return QUANTITY_STATISTICS[band.quantity]
        places = np.array([place for place, _ in alike])
        if isinstance(band, SarChannel):
            return alike[int(np.abs(places - wanted).argmin())][1]
        mean, std = (
            float(np.interp(wanted, places, [scale[part] for _, scale in alike])) for part in (0, 1)
        )
        return mean, std

    def shift_and_scale(
        self, bands: Sequence[Channel], device: torch.device, dtype: torch.dtype
    ) -> tuple[Tensor, Tensor]:
        """What makes pixels normalised, (C, 1, 1) each: `shift + pixels * scale`."""
        key = (
            tuple(map(band_identity, bands)),
            tuple(band.quantity for band in bands),
            device,
            dtype,
        )
        if key not in self._kept:
            if len(self._kept) >= _KEPT_BAND_LISTS:
                self._kept.clear()
            mean_C, std_C = torch.tensor(
                [self.statistics(band) for band in bands], dtype=torch.float64
            ).T
            self._kept[key] = tuple(
                values_C[:, None, None].to(device, dtype)
                for values_C in (-mean_C / std_C, 1 / std_C)
            )
        return self._kept[key]


def band_identity(band: Channel) -> tuple[tuple[str, ...], float]:
    """What makes two bands the same to look at: their kind, and their place among it."""
    if isinstance(band, Band):
        return (band.quantity,), band.center_wavelength
    return (band.quantity, band.polarization), band.center_frequency
