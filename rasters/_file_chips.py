"""Chips that are files, or windows of them."""

from collections.abc import Sequence
from typing import Any

import torch
from rasterio.crs import CRS
from rasterio.warp import transform as transform_points
from rasterio.windows import Window

from rasters._digest import SampleDigests
from rasters._grid import Grid
from rasters._masks import MaskReader
from rasters._samples import Mask, Sample
from rasters.image import RasterImage
from rasters.read import Raster, ReadOptions, open_raster
from sensors.bands import Channel
from sensors.errors import InputError
from sensors.plan import MissingBandsError


class FileChips:
    """Reads chips, labelled or not, from their files.

    Args:
        samples: Where the pixels and the label of each chip are.
        masks: How to understand the samples' masks; None for labels of whole scenes.
        chip_size: Centre-crop or pad every chip to this side.
        reading: Arguments of `open_raster`.

    Raises:
        InputError: If there is no sample, or the first one cannot be opened.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        *,
        masks: MaskReader | None = None,
        chip_size: int | None = None,
        reading: ReadOptions | None = None,
    ) -> None:
        if not samples:
            raise InputError("the data set has no chip")
        self.samples = tuple(samples)
        self.ids = tuple(sample.id for sample in samples)
        self.groups = tuple(sample.group for sample in samples)
        self._masks = masks
        self._chip_size = chip_size
        self._reading: ReadOptions = reading or {}
        self._digests = SampleDigests((masks, chip_size, sorted(self._reading.items())))
        with self._open(self.samples[0]) as raster:
            self.bands: tuple[Channel, ...] = raster.bands

    def read(self, index: int) -> dict[str, Any]:
        """One chip as an item of `ChipDataset`."""
        sample = self.samples[index]
        with self._open(sample) as raster:
            window = self._window(sample, raster)
            image = raster.read(window)
            grid = raster.grid
        if image.bands != self.bands:
            image = _same_bands(sample, image, self.bands)
        item: dict[str, Any] = {
            "image": torch.from_numpy(image.pixels),
            "valid": torch.from_numpy(image.valid),
            "id": sample.id,
        }
        if self._masks is not None and sample.mask is not None:
            item["mask"] = _read_mask(self._masks, sample.mask, grid, window, sample.id)
        elif sample.label is not None:
            item["label"] = _as_tensor(sample.label)
        return item

    def target(self, index: int) -> torch.Tensor | None:
        """The mask or label of a chip; of the image no more than the header is read."""
        sample = self.samples[index]
        if self._masks is not None and sample.mask is not None:
            with self._open(sample) as raster:
                window, grid = self._window(sample, raster), raster.grid
            return _read_mask(self._masks, sample.mask, grid, window, sample.id)
        return None if sample.label is None else _as_tensor(sample.label)

    def locate(self, index: int) -> tuple[float, float] | None:
        """Longitude and latitude of a chip's centre, from the header; None without a CRS."""
        sample = self.samples[index]
        with self._open(sample) as raster:
            window = self._window(sample, raster)
            if raster.crs is None:
                return None
            column = window.col_off + window.width / 2
            row = window.row_off + window.height / 2
            x, y = raster.grid.locate(column, row)
            (longitude,), (latitude,) = transform_points(raster.crs, CRS.from_epsg(4326), [x], [y])
            return longitude, latitude

    def digest(self, index: int) -> str:
        """SHA-256 of one chip, its files' bytes included."""
        return self._digests.of(self.samples[index])

    def _open(self, sample: Sample) -> Raster:
        return open_raster(sample.sources, **self._reading)

    def _window(self, sample: Sample, raster: Raster) -> Window:
        if sample.window is not None:
            return sample.window
        if self._chip_size is None:
            return Window(0, 0, raster.width, raster.height)
        size = self._chip_size
        return Window((raster.width - size) // 2, (raster.height - size) // 2, size, size)


def _read_mask(
    reader: MaskReader, mask: Mask, grid: Grid, window: Window, name: str
) -> torch.Tensor:
    labels = torch.from_numpy(reader.read(mask, grid, window, name))
    return labels if reader.values else labels.long()


def _as_tensor(label: int | tuple[float, ...]) -> torch.Tensor:
    return torch.tensor(label, dtype=torch.long if isinstance(label, int) else torch.float32)


def _same_bands(sample: Sample, image: RasterImage, bands: tuple[Channel, ...]) -> RasterImage:
    """The bands of the data set, for files that hold them in another order or hold more."""
    try:
        return image.select(bands)
    except MissingBandsError as error:
        raise InputError(
            f"{sample.sources[0]}: not the bands of the other chips: {error}"
        ) from error
