"""Data sets of chips, labelled or not, as torch reads them."""

import copy
import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal, Self, Unpack

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from rasters._chip_source import ChipSource, Item
from rasters._file_chips import FileChips
from rasters._masks import IGNORE_INDEX, MaskReader, choose_classes
from rasters._records import samples_from_records
from rasters._samples import (
    Files,
    Mask,
    samples_from_folders,
    samples_from_images,
    samples_from_pairs,
    with_group,
)
from rasters._tables import samples_from_table
from rasters._tiles import all_tiles, labelled_tiles
from rasters.progress import show_progress
from rasters.read import ReadOptions
from sensors.bands import channel_to_dict
from sensors.errors import InputError

__all__ = ["IGNORE_INDEX", "ChipDataset", "Task"]

Task = Literal["scene-classification", "semantic-segmentation", "regression", "similarity-search"]


class ChipDataset(Dataset[Item]):
    """Chips in a fixed order; made by a constructor named `from_...`.

    An item is a dict, H and W being the chip's own size:

    - `image`: float32 `(C, H, W)` in physical units, 0 where invalid; `valid`: bool `(C, H, W)`;
    - for scenes `label`: long `()`, or float32 `(K,)` of 0 and 1 (multi-label) or of values
      (regression);
    - for pixels `mask`: long `(H, W)` with 255 (`IGNORE_INDEX`) for no label, or float32
      `(K, H, W)` with NaN for no value (regression);
    - for similarity search, which needs no labels, neither;
    - `id`: the chip's name.

    Files are opened when an item is asked for, so a data set costs little to make and can be sent
    to workers.

    Attributes:
        bands: What the C layers of every image measure.
        classes: Names of the K classes, or of the values of a regression.
        task: `scene-classification`, `semantic-segmentation`, `regression` or `similarity-search`.
        multi_label: A scene may have several classes.
        ids: Name of every chip: its path below the data set's folder, with rows and columns for a
            tile.
        groups: Group of every chip (a place, a scene, a flight), or None.
    """

    def __init__(
        self,
        source: ChipSource,
        *,
        classes: Sequence[str],
        task: Task,
        multi_label: bool = False,
        cache: bool = False,
    ) -> None:
        twice = [name for name, times in Counter(source.ids).items() if times > 1]
        if twice:
            raise InputError(f"{twice[0]}: the chip is in the data set twice")
        self.bands = source.bands
        self.classes = tuple(classes)
        self.task = task
        self.multi_label = multi_label
        self._source = source
        self._indices: tuple[int, ...] = tuple(range(len(source.ids)))
        self._cache: dict[int, Item] | None = {} if cache else None
        self._digest: str | None = None

    @classmethod
    def from_folders(
        cls,
        root: str | Path,
        *,
        classes: Sequence[str] | None = None,
        chip_size: int | None = None,
        cache: bool = False,
        **reading: Unpack[ReadOptions],
    ) -> Self:
        """Scene classification from one folder of images a class.

        Args:
            root: Folder of the classes' folders.
            classes: Names in the order wanted; the sorted folder names if not given.
            chip_size: Centre-crop or pad (with invalid pixels) every chip to this side.
            cache: Keep every chip in memory once it was read.
            reading: Arguments of `open_raster`: sensor, bands, scale and so on.

        Raises:
            InputError: If a class has no image, or a folder is not among the classes.
        """
        samples, names = samples_from_folders(Path(root), classes)
        source = FileChips(samples, chip_size=chip_size, reading=reading)
        return cls(source, classes=names, task="scene-classification", cache=cache)

    @classmethod
    def from_pairs(
        cls,
        images: Files,
        masks: Files | Sequence[Mask] | None = None,
        *,
        classes: Sequence[str] | None = None,
        label_map: Mapping[int, str] | None = None,
        ignore: Sequence[int] = (-1, IGNORE_INDEX),
        mask_layer: str | None = None,
        groups: Mapping[str, str] | None = None,
        tile: int | None = None,
        stride: int | None = None,
        task: Task = "semantic-segmentation",
        chip_size: int | None = None,
        cache: bool = False,
        **reading: Unpack[ReadOptions],
    ) -> Self:
        """Segmentation, or regression per pixel, from images and masks.

        Folders, and patterns such as `S1/*_S1.tif`, go together by name: masks may be named like
        their images, or differ in a fixed beginning or ending. Lists go together in order.

        Args:
            images: Folder, pattern, file, or list of files.
            masks: The same for masks; a list may hold arrays `(H, W)`. None: the images' own files.
            classes: Names in the order of the indices. If not given: those of `label_map`, or those
                that a class map of `write_class_map` carries.
            label_map: Stored number to class name; other numbers are ignored. If not given, numbers
                are indices.
            ignore: Stored numbers without label, where there is no `label_map`.
            mask_layer: Name of the layer with the labels, for files that hold more than labels.
            groups: Group by chip id or file stem.
            tile: Cut images into squares of this side; those without any label are left out.
            stride: Step from tile to tile, `tile` if not given; less makes tiles overlap.
            task: `semantic-segmentation`, or `regression` of every pixel (`classes` name the mask's
                layers).
            chip_size: Centre-crop or pad every chip to this side.
            cache: Keep every chip in memory once it was read.
            reading: Arguments of `open_raster`.

        Raises:
            InputError: If an image has no mask; when tiling or reading, if a mask's size differs
                from its image's or a label is outside the classes.
        """
        pairs = samples_from_pairs(images, images if masks is None else masks)
        samples = [with_group(sample, groups) for sample in pairs]
        reader = MaskReader(
            classes=choose_classes(classes, label_map, samples[0].mask),
            label_map=None if label_map is None else dict(label_map),
            ignore=tuple(ignore),
            layer=mask_layer,
            values=task == "regression",
            resample=reading.get("gsd") is not None,
            same_grid=reading.get("same_grid", False),
        )
        if tile is not None:
            samples = labelled_tiles(samples, reader, tile, stride or tile, reading)
        source = FileChips(samples, masks=reader, chip_size=chip_size, reading=reading)
        return cls(source, classes=reader.classes, task=task, cache=cache)

    @classmethod
    def from_images(
        cls,
        images: Files,
        *,
        tile: int | None = None,
        stride: int | None = None,
        chip_size: int | None = None,
        cache: bool = False,
        **reading: Unpack[ReadOptions],
    ) -> Self:
        """Images without labels.

        Args:
            images: Folder, pattern such as `S1/*_S1.tif`, file, or list of files.
            tile: Cut images into squares of this side; the last of a row or column may reach
                beyond the image, where its pixels are invalid.
            stride: Step from tile to tile, `tile` if not given; less makes tiles overlap.
            chip_size: Centre-crop or pad every chip to this side.
            cache: Keep every chip in memory once it was read.
            reading: Arguments of `open_raster`.

        Raises:
            InputError: If there is no image, or one cannot be opened.
        """
        samples = samples_from_images(images)
        if tile is not None:
            samples = all_tiles(samples, tile, stride or tile, reading)
        source = FileChips(samples, chip_size=chip_size, reading=reading)
        return cls(source, classes=(), task="similarity-search", cache=cache)

    @classmethod
    def from_table(
        cls,
        table: str | Path,
        *,
        image_column: str = "file",
        label_column: str | Sequence[str] = "label",
        group_column: str | None = None,
        classes: Sequence[str] | None = None,
        task: Task = "scene-classification",
        multi_label: bool = False,
        multi_label_separator: str = ";",
        root: str | Path | None = None,
        chip_size: int | None = None,
        cache: bool = False,
        **reading: Unpack[ReadOptions],
    ) -> Self:
        """Labelled scenes listed in a CSV file with a header.

        Args:
            table: The file.
            image_column: Column of images: a file, a folder of single-band files, or several with
                `;` between.
            label_column: Column of labels; for a regression one or several columns of numbers.
            group_column: Column that says which chips belong together.
            classes: Names in the order wanted; if not given, all labels that occur, sorted.
            task: `scene-classification`, or `regression` of scenes.
            multi_label: A scene may have several labels in its cell.
            multi_label_separator: What stands between them.
            root: Folder that file names are relative to; the table's own if not given.
            chip_size: Centre-crop or pad every chip to this side.
            cache: Keep every chip in memory once it was read.
            reading: Arguments of `open_raster`.

        Raises:
            InputError: If a column or a file is missing, or a label is not among the classes or not
                a number.
        """
        label_columns = [label_column] if isinstance(label_column, str) else list(label_column)
        samples, names = samples_from_table(
            Path(table),
            Path(table).parent if root is None else Path(root),
            image_column=image_column,
            label_columns=label_columns,
            group_column=group_column,
            classes=classes,
            separator=multi_label_separator if multi_label else None,
            numbers=task == "regression",
        )
        source = FileChips(samples, chip_size=chip_size, reading=reading)
        return cls(source, classes=names, task=task, multi_label=multi_label, cache=cache)

    @classmethod
    def from_records(
        cls,
        root: str | Path,
        *,
        record: str = "record.json",
        label_key: str | Sequence[str] = "label",
        group_key: str | None = None,
        classes: Sequence[str] | None = None,
        task: Task = "scene-classification",
        multi_label: bool = False,
        chip_size: int | None = None,
        cache: bool = False,
        **reading: Unpack[ReadOptions],
    ) -> Self:
        """Labelled scenes in a folder each, beside a JSON record.

        The images of a folder are one stack. Folders may differ in how they are laid out, such as
        single-band files here and stacked ones there: `layers` names the layers of the latter.

        Args:
            root: Folder of the scenes' folders, at any depth.
            record: Name of the record in each of them.
            label_key: Key of the label, or of a list of labels; for a regression one or several
                keys of numbers.
            group_key: Key that says which chips belong together.
            classes: Names in the order wanted; if not given, all labels that occur, sorted.
            task: `scene-classification`, or `regression` of scenes.
            multi_label: A scene may have several labels.
            chip_size: Centre-crop or pad every chip to this side.
            cache: Keep every chip in memory once it was read.
            reading: Arguments of `open_raster`.

        Raises:
            InputError: If there is no record, one cannot be read or lacks a key, or a label is not
                among the classes or not a number.
        """
        samples, names = samples_from_records(
            Path(root),
            record=record,
            label_keys=[label_key] if isinstance(label_key, str) else list(label_key),
            group_key=group_key,
            classes=classes,
            multi_label=multi_label,
            numbers=task == "regression",
        )
        source = FileChips(samples, chip_size=chip_size, reading=reading)
        return cls(
            source,
            classes=names,
            task=task,
            multi_label=multi_label,
            cache=cache,
        )

    def subset(self, indices: Sequence[int]) -> Self:
        """The chips at these positions, in this order."""
        part = copy.copy(self)
        part._indices = tuple(self._indices[index] for index in indices)
        part.__dict__.pop("locations", None)
        part._digest = None
        return part

    @property
    def ids(self) -> tuple[str, ...]:
        """Name of every chip."""
        return tuple(self._source.ids[index] for index in self._indices)

    @property
    def groups(self) -> tuple[str, ...] | None:
        """Group of every chip, or None where one has none."""
        groups = tuple(self._source.groups[index] for index in self._indices)
        return None if None in groups else tuple(str(group) for group in groups)

    @cached_property
    def locations(self) -> NDArray[np.float64] | None:
        """Longitude and latitude of every chip's centre, `(N, 2)`; None where one has no CRS.

        The files' headers are read for it, once.
        """
        centres = []
        for index in self._indices:
            centre = self._source.locate(index)
            if centre is None:
                return None
            centres.append(centre)
        return np.array(centres, dtype=np.float64)

    def target(self, index: int) -> torch.Tensor | None:
        """The `label` or `mask` of a chip, as in its item; None without one.

        Its image is not read, nor kept in memory, where the data set can do without.
        """
        return self._source.target(self._indices[index])

    def content_digest(self) -> str:
        """SHA-256 of everything that decides the items: ids, labels, bands, and every file's bytes.

        Each file is read for it, once; where it lies has no influence.
        """
        if self._digest is None:
            bands = [channel_to_dict(band) for band in self.bands]
            head = repr((self.task, self.multi_label, self.classes, bands))
            total = hashlib.sha256(head.encode())
            for index in show_progress(self._indices, "Hashing chips"):
                total.update(self._source.digest(index).encode())
            self._digest = total.hexdigest()
        return self._digest

    def forget(self) -> None:
        """Let go of the chips kept in memory, of all parts of the data set; reading starts anew."""
        if self._cache is not None:
            self._cache.clear()

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> Item:
        position = self._indices[index]
        if self._cache is None:
            return self._source.read(position)
        if position not in self._cache:
            self._cache[position] = self._source.read(position)
        kept = self._cache[position]  # copied: what is done to an item must not reach the memory
        return {
            key: value.clone() if isinstance(value, torch.Tensor) else value
            for key, value in kept.items()
        }
