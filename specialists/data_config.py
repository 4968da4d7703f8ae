"""What a data set is: plain data, as a YAML file or a command line gives it."""

from dataclasses import dataclass, field
from typing import Any

from specialists.splitting import SplitConfig


@dataclass
class ChipsConfig:
    """Files of one split; which entries count depends on the configuration's `kind`.

    Args:
        folder: `folders`: one sub-folder a class. `records`: one a chip.
        images, masks: `pairs`: folders, files or patterns that go together by name. Without masks,
            the images' own files hold them. `images`: the former alone. `geobench`: a `.tortilla`
            file or a pattern, and the name of the item that is the mask, if there is one.
        table: `table`: a CSV file.
        split: `torchgeo` and `geobench`: what the data set calls the split.
    """

    folder: str | None = None
    images: str | None = None
    masks: str | None = None
    table: str | None = None
    split: str | None = None


@dataclass
class TorchGeoConfig:
    """One of TorchGeo's data sets, see `rasters.torchgeo`.

    Args:
        name: Class in `torchgeo.datasets`.
        options: Arguments of its constructor.
        split_option: The one that takes the splits' names; None if it has none.
        image_key, target_key: Which entries of a sample are the image and its label or mask.
    """

    name: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    split_option: str | None = "split"
    image_key: str = "image"
    target_key: str | None = None


@dataclass
class DataConfig:
    """A data set of chips, labelled unless its kind is `images`.

    Args:
        name, title, licence, source: What the card of a specialist will say of it.
        root: Folder of data sets, for use in the paths below.
        kind: `folders` (one a class), `pairs` (images and masks), `images` (without labels),
            `table` (a CSV file), `records` (a folder a chip, with a JSON record), `torchgeo` or
            `geobench` (version 2).
        task: As in `SpecialistSpec`; `similarity-search` for chips without labels.
        train, selection, test: Files of each split; without, a split is cut from `train` as
            `split` says.
        other_tests: Further test sets by name, scored apart. With `split.by=component` they need no
            masks of their own: they get the ones that are held out for the test.
        sensor, bands, drop_bands, layers, processing_baseline, scale, offset, same_grid: How to
            read the files, see `rasters.open_raster`.
        gsd: Ground sample distance in metres, where the bands do not say.
        classes: Names in order, see the constructors of `rasters.ChipDataset`.
        label_map, mask_layer: For masks, see `rasters.ChipDataset.from_pairs`.
        tile: Cut images into squares of this edge, in pixels.
        torchgeo: For kind `torchgeo`.
        multi_label, image_column, label_column, group_column: For tables, see
            `rasters.ChipDataset.from_table`. The latter two are keys for records, columns of the
            index for `geobench`.
        record: Name of the JSON file in each chip's folder.
        chip_size: Crop or pad every chip to this edge, in pixels.
        cache: Keep chips in memory once they were read.
        workers: Processes that read chips beside the training.
    """

    name: str
    title: str
    licence: str
    source: str
    kind: str
    train: ChipsConfig
    root: str = "data"
    task: str = "scene-classification"
    selection: ChipsConfig = field(default_factory=ChipsConfig)
    test: ChipsConfig = field(default_factory=ChipsConfig)
    other_tests: dict[str, ChipsConfig] = field(default_factory=dict)
    split: SplitConfig = field(default_factory=SplitConfig)
    sensor: Any = None
    bands: list[str] | None = None
    drop_bands: list[str] | None = None
    layers: dict[str, list[str]] | None = None
    processing_baseline: str | None = None
    scale: Any = None
    offset: Any = None
    same_grid: bool = False
    gsd: float | None = None
    classes: list[str] | None = None
    label_map: dict[int, str] | None = None
    mask_layer: str | None = None
    tile: int | None = None
    torchgeo: TorchGeoConfig = field(default_factory=TorchGeoConfig)
    multi_label: bool = False
    image_column: str = "file"
    label_column: Any = "label"
    group_column: str | None = None
    record: str = "record.json"
    chip_size: int | None = None
    cache: bool = True
    workers: int = 0
