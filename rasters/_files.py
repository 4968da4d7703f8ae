"""Opening image files: which files a source means, and every reading failure told as bad input."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import rasterio
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.io import DatasetReader

from sensors.errors import InputError

IMAGE_SUFFIXES = (".tif", ".tiff", ".gtif", ".jp2", ".png", ".jpg", ".jpeg")

Sources = str | Path | Sequence[str | Path]


def is_image(path: Path) -> bool:
    """Whether the name is that of an image file (hidden files and sidecars are not)."""
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")


def list_images(folder: Path, *, recursive: bool = False) -> list[Path]:
    """Image files of a folder, sorted by name."""
    return sorted(p for p in (folder.rglob("*") if recursive else folder.iterdir()) if is_image(p))


def expand_sources(sources: Sources) -> list[list[Path]]:
    """One list of files for every source: a folder gives its images, a file itself.

    Raises:
        InputError: If there is no such file, or a folder holds no image.
    """
    given = [sources] if isinstance(sources, str | Path) else list(sources)
    if not given:
        raise InputError("no image was given: name at least one file or folder")
    return [_expand(Path(source)) for source in given]


def _expand(source: Path) -> list[Path]:
    if not source.is_dir():
        if not source.exists():
            raise InputError(f"{source}: no such file or folder")
        return [source]
    files = list_images(source) or list_images(source, recursive=True)
    if not files:
        raise InputError(f"{source}: the folder holds no image ({', '.join(IMAGE_SUFFIXES)})")
    # A whole Sentinel-2 product has masks elsewhere whose names end in a band's name too.
    return [file for file in files if "IMG_DATA" in file.parts] or files


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what GDAL says of a file that cannot be read into an `InputError` that names it.

    A JPEG that ends early is an error too: by default it would be filled with grey.
    """
    try:
        with rasterio.Env(GDAL_ERROR_ON_LIBJPEG_WARNING=True), warnings.catch_warnings():
            # PNG and JPEG never have a georeference: whoever needs one says so.
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            yield
    except (RasterioError, OSError) as error:
        reason = str(error.__cause__ or error).strip()
        raise InputError(
            f"{path}: cannot be read as an image, it is truncated or not a raster ({reason})"
        ) from error


def open_dataset(path: Path) -> DatasetReader:
    """Open one image file.

    Raises:
        InputError: If it is not a raster.
    """
    with reading(path):
        return rasterio.open(path)
