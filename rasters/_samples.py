"""Finding labelled images: a folder a class, images and masks that go together."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from rasterio.windows import Window

from rasters._files import is_image, list_images
from sensors.errors import InputError

Mask = Path | NDArray[Any]
Files = str | Path | Sequence[str | Path]


@dataclass(frozen=True)
class Sample:
    """One chip: where its pixels come from, and its label (index of a class, values, or a mask)."""

    id: str
    sources: tuple[Path, ...]
    label: int | tuple[float, ...] | None = None
    mask: Mask | None = None
    window: Window | None = None
    group: str | None = None


def samples_from_folders(
    root: Path, classes: Sequence[str] | None
) -> tuple[list[Sample], tuple[str, ...]]:
    """Samples of one folder a class, and the classes.

    Raises:
        InputError: If there is no folder, one is empty, or one is not among the classes.
    """
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; expected one with a folder of images per class")
    folders = sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    if not folders:
        raise InputError(f"{root}: expected one folder of images per class, found no folder")
    names = tuple(classes) if classes else tuple(folder.name for folder in folders)
    for folder in folders:
        if folder.name not in names:
            raise InputError(
                f"{folder}: {folder.name!r} is not among the classes {', '.join(names)}"
            )
    samples = []
    for label, name in enumerate(names):
        files = list_images(root / name) if (root / name).is_dir() else []
        if not files:
            raise InputError(f"{root / name}: class {name!r} has no image")
        samples += [Sample(f"{name}/{file.name}", (file,), label=label) for file in files]
    return sorted(samples, key=lambda sample: sample.id), names


def samples_from_pairs(images: Files, masks: Files | Sequence[Mask]) -> list[Sample]:
    """Samples of images and the masks that belong to them.

    Lists go together in order; folders and patterns by name (see `ChipDataset.from_pairs`).

    Raises:
        InputError: If an image has no mask.
    """
    pairs: Sequence[tuple[Path, Mask]]
    if isinstance(images, str | Path) and isinstance(masks, str | Path):
        base, image_files = _find(str(images))
        pairs = _pair(image_files, _find(str(masks))[1])
    elif isinstance(images, str | Path) or isinstance(masks, str | Path):
        raise InputError("images and masks: give two lists, or two folders or patterns")
    else:
        if len(images) != len(masks) or not images:
            raise InputError(f"{len(images)} images and {len(masks)} masks: expected one each")
        image_files = [Path(image) for image in images]
        base = _common_folder(image_files)
        mask_files = [Path(mask) if isinstance(mask, str) else mask for mask in masks]
        pairs = list(zip(image_files, mask_files, strict=True))
    samples = [Sample(_relative(file, base), (file,), mask=mask) for file, mask in pairs]
    return sorted(samples, key=lambda sample: sample.id)


def samples_from_images(images: Files) -> list[Sample]:
    """Samples without labels: of a folder, a pattern with `*`, a file, or a list of files.

    Raises:
        InputError: If there is no image.
    """
    if isinstance(images, str | Path):
        base, files = _find(str(images))
    else:
        base, files = _common_folder(images), [Path(image) for image in images]
    samples = [Sample(_relative(file, base), (file,)) for file in files]
    return sorted(samples, key=lambda sample: sample.id)


def _common_folder(files: Sequence[str | Path]) -> Path:
    if not files:
        raise InputError("an empty list of images: expected one at least")
    return Path(os.path.commonpath([Path(file).absolute().parent for file in files]))


def _find(place: str) -> tuple[Path, list[Path]]:
    """A folder to name files by, and the files of a folder, a pattern with `*`, or one file."""
    if "*" in place:
        base = Path(place.split("*", 1)[0] + "x").parent
        files = sorted(file for file in base.glob(os.path.relpath(place, base)) if is_image(file))
    elif Path(place).is_dir():
        base, files = Path(place), list_images(Path(place))
    else:
        base, files = Path(place).parent, [Path(place)] * Path(place).is_file()
    if not files:
        raise InputError(f"{place}: found no image")
    return base, files


def _pair(images: Sequence[Path], masks: Sequence[Path]) -> list[tuple[Path, Path]]:
    """Go together: the same relative name, or what differs between the files of each side."""
    if len(images) == len(masks) == 1:
        return [(images[0], masks[0])]
    for key in (_stems, _distinctions):
        image_keys, mask_keys = key(images), key(masks)
        by_key = dict(zip(mask_keys, masks, strict=True))
        if len(by_key) == len(masks) and set(image_keys) <= set(by_key):
            return [(file, by_key[name]) for name, file in zip(image_keys, images, strict=True)]
    known = set(_stems(masks))
    alone = next((file for file in images if file.stem not in known), images[0])
    raise InputError(
        f"{alone}: no mask of that name among {len(masks)} files such as {masks[0]}; names of "
        "images and masks may differ in a fixed beginning or ending only"
    )


def _stems(files: Sequence[Path]) -> list[str]:
    return [file.stem for file in files]


def _distinctions(files: Sequence[Path]) -> list[str]:
    """Paths without the beginning and ending that all have in common."""
    texts = [file.with_suffix("").as_posix() for file in files]
    start = _common_start(texts)
    end = _common_start([text[start:][::-1] for text in texts])
    return [text[start : len(text) - end] for text in texts]


def _common_start(texts: Sequence[str]) -> int:
    first, last = min(texts), max(texts)
    different = (n for n, (a, b) in enumerate(zip(first, last, strict=False)) if a != b)
    return next(different, len(first))


def _relative(file: Path, base: Path) -> str:
    return Path(os.path.relpath(file, base)).as_posix()


def with_group(sample: Sample, groups: Mapping[str, str] | None) -> Sample:
    """The sample with its group, found by its id or the stem of its file.

    Raises:
        InputError: If it has none.
    """
    if groups is None:
        return sample
    group = groups.get(sample.id, groups.get(Path(sample.id).stem))
    if group is None:
        raise InputError(f"{sample.id}: no group is given for this chip")
    return replace(sample, group=str(group))
