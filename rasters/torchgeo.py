"""TorchGeo's data sets as chips with their bands.

TorchGeo delivers stored numbers and knows no units: which band a layer is, and how its numbers
become physical, comes from the sensor here. Needs the extra `terraguild[torchgeo]`.
"""

import hashlib
import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol, cast

import numpy as np
from rasterio.crs import CRS
from rasterio.warp import transform as transform_points
from torch import Tensor

from rasters._array_chips import ArrayChips
from rasters._bands import find_channel, name_layers
from rasters._chip_source import Item
from rasters._masks import MaskReader, choose_classes
from rasters._stack import Sensors, load_sensors
from rasters._values import Number, rescaled
from rasters.chips import ChipDataset, Task
from sensors.errors import InputError

Key = Any  # a number; or for a GeoDataset slices of x, y and time
Sample = Mapping[str, Any]


class Samples(Protocol):
    """What TorchGeo's `NonGeoDataset` and `GeoDataset` have in common."""

    def __getitem__(self, key: Key, /) -> Sample:
        """One sample."""

    def __len__(self) -> int:
        """How many samples, or files, there are."""


def open_torchgeo(name: str, options: Mapping[str, Any]) -> Samples:
    """One of TorchGeo's data sets.

    Nothing is downloaded unless the options say `download: true`.

    Args:
        name: Name of a class in `torchgeo.datasets`.
        options: Arguments of its constructor.

    Raises:
        InputError: If TorchGeo is not installed, has no such class, or cannot make the data set.
    """
    known = _import("torchgeo.datasets")
    chosen = getattr(known, name, None)
    bases = (known.NonGeoDataset, known.GeoDataset)
    if not (isinstance(chosen, type) and issubclass(chosen, bases)):
        raise InputError(f"{name!r} is not a data set of torchgeo.datasets")
    refused = (known.DatasetNotFoundError, known.DependencyNotFoundError)
    try:
        return cast("Samples", chosen(**options))
    except (*refused, AssertionError, OSError, TypeError, ValueError) as error:
        raise InputError(
            f"TorchGeo's {name} cannot be made with {dict(options)}: "
            f"{str(error) or type(error).__name__}"
        ) from error


def torchgeo_chips(
    dataset: Samples,
    *,
    sensor: Sensors | None,
    bands: Sequence[str] | None = None,
    drop_bands: Sequence[str] | None = None,
    processing_baseline: str | None = None,
    scale: Number | None = None,
    offset: Number | None = None,
    classes: Sequence[str] | None = None,
    label_map: Mapping[int, str] | None = None,
    task: Task = "scene-classification",
    multi_label: bool = False,
    image_key: str = "image",
    target_key: str | None = None,
    tile: int | None = None,
    chip_size: int | None = None,
    cache: bool = False,
    prefix: str = "",
) -> ChipDataset:
    """Chips of a TorchGeo data set whose samples hold an image and a label or a mask.

    Args:
        dataset: An instance of a `NonGeoDataset`, or of a `GeoDataset`, which is cut into tiles.
        sensor: Which sensor's bands the layers are, see `open_raster`.
        bands: Names of the layers in order, `"-"` for one to leave out; the data set's own `bands`
            if not given.
        drop_bands: Which of the bands not to read.
        processing_baseline: Of Sentinel-2 products, see `open_raster`.
        scale: Replaces the sensor's scale and offset; 1 for images that are physical already.
        offset: Goes with `scale`, or replaces the sensor's offset alone.
        classes: Names in the order of the indices. If not given: for scenes the data set's own
            `classes`, for masks those of `label_map`.
        label_map: For masks: stored number to class name; other numbers are ignored.
        task: What the labels are for. A regression is of pixels where the target is a mask.
        multi_label: A scene may have several classes.
        image_key: Which entry of a sample is the image.
        target_key: Which one is the target; `mask` or `label` if not given.
        tile: Side of the tiles of a `GeoDataset`, in pixels.
        chip_size: Centre-crop or pad every chip to this side.
        cache: Keep every chip in memory once it was read.
        prefix: What the chips' ids begin with; TorchGeo's samples have but a number.

    Raises:
        InputError: If the data set is empty, its samples lack the image or the target, or their
            layers or classes cannot be named.
    """
    keys = _keys(dataset, tile)
    first = dataset[keys[0]]
    if target_key is None:
        target_key = "mask" if "mask" in first and task != "scene-classification" else "label"
    _check_entries(dataset, first, image_key, target_key)
    per_pixel = np.ndim(first[target_key]) > 1 and task != "scene-classification"
    if classes is None and not per_pixel:
        classes = _own_names(dataset, "classes")
    named = choose_classes(classes, label_map, None)
    sensors = load_sensors(sensor, processing_baseline, {})
    dropped = [find_channel(name, sensors) for name in drop_bands or ()]
    place = Path(type(dataset).__name__)
    layers = [
        layer
        for layer in name_layers(
            [(place, len(first[image_key]))], bands or _own_names(dataset, "bands"), sensors
        )[place]
        if layer.channel not in dropped
    ]
    reader = ArrayChips(
        layers=tuple(layer.index - 1 for layer in layers),
        bands=tuple(rescaled(layer.channel, scale, offset) for layer in layers),
        classes=named,
        masks=_mask_reader(named, label_map, task) if per_pixel else None,
        values=task == "regression",
        multi_label=multi_label,
        chip_size=chip_size or tile,
    )
    source = _TorchGeoChips(dataset, keys, reader, (image_key, target_key), prefix)
    return ChipDataset(source, classes=named, task=task, multi_label=multi_label, cache=cache)


class _TorchGeoChips:
    """A source of chips, see `rasters._chip_source.ChipSource`."""

    def __init__(
        self,
        dataset: Samples,
        keys: Sequence[Key],
        reader: ArrayChips,
        entries: tuple[str, str],
        prefix: str,
    ) -> None:
        self._dataset = dataset
        self._keys = tuple(keys)
        self._reader = reader
        self._entries = entries
        self.bands = reader.bands
        self.ids = tuple(f"{prefix}{number:06d}" for number in range(len(keys)))
        self.groups: tuple[str | None, ...] = (None,) * len(keys)

    def read(self, index: int) -> Item:
        """One chip as an item of `ChipDataset`."""
        sample = self._dataset[self._keys[index]]
        image, target = (np.asarray(sample[entry]) for entry in self._entries)
        return self._reader.item(self.ids[index], image, target)

    def target(self, index: int) -> Tensor | None:
        """The mask or label of a chip; TorchGeo gives none without the image."""
        item = self.read(index)
        return item.get("mask", item.get("label"))

    def locate(self, index: int) -> tuple[float, float] | None:
        """Centre of a tile of a `GeoDataset`; other samples do not say where they are."""
        key = self._keys[index]
        if isinstance(key, int):
            return None
        x, y = ((key[axis].start + key[axis].stop) / 2 for axis in (0, 1))
        crs = CRS.from_wkt(cast("Any", self._dataset).crs.to_wkt())
        (longitude,), (latitude,) = transform_points(crs, CRS.from_epsg(4326), [x], [y])
        return longitude, latitude

    def digest(self, index: int) -> str:
        """SHA-256 of a chip's content, as read."""
        item = self.read(index)
        total = hashlib.sha256(item.pop("id").encode())
        for name in sorted(item):
            array = item[name].numpy()
            total.update(f"{name} {array.dtype} {array.shape}".encode() + array.tobytes())
        return total.hexdigest()


def _import(module: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise InputError(
            f"TorchGeo's data sets need an extra ({error}): pip install 'terraguild[torchgeo]'"
        ) from error


def _keys(dataset: Samples, tile: int | None) -> list[Key]:
    """What to index a data set with."""
    name = type(dataset).__name__
    if isinstance(dataset, _import("torchgeo.datasets").GeoDataset):
        if tile is None:
            raise InputError(f"TorchGeo's {name} is not cut into chips: give tile, in pixels")
        keys = list(_import("torchgeo.samplers").GridGeoSampler(dataset, size=tile))
    else:
        keys = list(range(len(dataset)))
    if not keys:
        raise InputError(f"TorchGeo's {name} holds no sample, or none as large as the tile")
    return keys


def _check_entries(dataset: Samples, sample: Sample, *needed: str) -> None:
    missing = [entry for entry in needed if entry not in sample]
    if missing:
        raise InputError(
            f"samples of TorchGeo's {type(dataset).__name__} have no {' and no '.join(missing)}; "
            f"they have {', '.join(map(str, sample))}"
        )


def _own_names(dataset: Samples, attribute: str) -> list[str] | None:
    """What a data set itself calls its bands or classes, if it does."""
    names = getattr(dataset, attribute, None)
    is_named = isinstance(names, list | tuple) and all(isinstance(name, str) for name in names)
    return list(names) if is_named and names else None


def _mask_reader(
    classes: tuple[str, ...], label_map: Mapping[int, str] | None, task: Task
) -> MaskReader:
    mapped = None if label_map is None else dict(label_map)
    return MaskReader(classes, label_map=mapped, values=task == "regression")
