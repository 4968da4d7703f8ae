"""A georeferenced image whose bands say what they measure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS

from rasters._grid import Grid
from sensors.bands import Channel
from sensors.errors import InputError
from sensors.plan import BandPlan


@dataclass(frozen=True, eq=False)
class RasterImage:
    """Pixels in physical units, with what each band measures and where it lies.

    Args:
        pixels: float32 `(C, H, W)`: reflectance or brightness 0..1, kelvin, or sigma0 in dB.
            Invalid pixels are 0.
        valid: bool `(C, H, W)`, per band, so that one dead band does not empty the scene.
        bands: What each of the C bands measures.
        transform: From column and row to coordinates, as in rasterio.
        crs: Coordinate reference system, or None for a plain picture.

    Raises:
        InputError: If the shapes contradict each other.
    """

    pixels: NDArray[np.float32]
    valid: NDArray[np.bool_]
    bands: tuple[Channel, ...]
    transform: Affine
    crs: CRS | None = None

    def __post_init__(self) -> None:
        if self.pixels.ndim != 3 or self.pixels.shape[0] != len(self.bands):
            raise InputError(
                f"pixels of shape {self.pixels.shape} beside {len(self.bands)} bands: expected (C, "
                "H, W) with one band a layer"
            )
        if self.valid.shape != self.pixels.shape:
            raise InputError(
                f"valid of shape {self.valid.shape} beside pixels of shape {self.pixels.shape}: "
                "they must be equal"
            )

    @property
    def height(self) -> int:
        """Rows."""
        return int(self.pixels.shape[1])

    @property
    def width(self) -> int:
        """Columns."""
        return int(self.pixels.shape[2])

    @property
    def valid_HW(self) -> NDArray[np.bool_]:
        """Where all bands are valid, `(H, W)`."""
        return np.asarray(self.valid.all(axis=0))

    @property
    def gsd(self) -> float | None:
        """Ground sample distance in metres (of degrees, at the centre); None without a CRS."""
        return Grid(self.height, self.width, self.transform, self.crs).gsd

    def select(self, wanted: Sequence[Channel]) -> "RasterImage":
        """The wanted bands, served by those that are here.

        Raises:
            MissingBandsError: If a wanted band is not covered; the message names the nearest that
                is.
        """
        plan = BandPlan.match(tuple(wanted), self.bands).require()
        valid = np.asarray(plan.apply_valid(self.valid))
        pixels = np.where(valid, plan.apply(self.pixels), 0).astype(np.float32)
        return replace(self, pixels=pixels, valid=valid, bands=tuple(wanted))
