"""Opening image files: which files a source means, and every reading failure told as bad input."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import rasterio
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.io import DatasetReader

from rasters._packed import find_packed
from sensors.errors import InputError

IMAGE_SUFFIXES = (".tif", ".tiff", ".gtif", ".jp2", ".png", ".jpg", ".jpeg")

# What makes GDAL report a file that ends early; by default it fills in what is missing.
_STRICT = {
    "GDAL_ERROR_ON_LIBJPEG_WARNING": True,
    "GDAL_PNG_WHOLE_IMAGE_OPTIM": False,
    "GDAL_NUM_THREADS": 1,  # errors in JPEG 2000's decoding threads are printed and forgotten
}

Sources = str | Path | Sequence[str | Path]


def is_image(path: Path) -> bool:
    """Whether the name is that of an image file (hidden files and sidecars are not)."""
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")


def list_images(folder: Path, *, recursive: bool = False) -> list[Path]:
    """Image files of a folder, sorted by name."""
    return sorted(p for p in (folder.rglob("*") if recursive else folder.iterdir()) if is_image(p))


def expand_sources(sources: Sources) -> list[list[Path]]:
    """One list of files for every source: a folder gives its images, a file itself.

    A path may lead into a tortilla, see `rasters._packed`.

    Raises:
        InputError: If there is no such file, or a folder holds no image.
    """
    given = [sources] if isinstance(sources, str | Path) else list(sources)
    if not given:
        raise InputError("no image was given: name at least one file or folder")
    return [_expand(Path(source)) for source in given]


def _expand(source: Path) -> list[Path]:
    packed = find_packed(source)
    if packed is not None and packed.is_folder:
        files = [source / name for name, item in packed.items().items() if item.is_image]
    elif packed is not None or source.is_file():
        return [source]
    elif source.is_dir():
        files = list_images(source) or list_images(source, recursive=True)
    else:
        raise InputError(f"{source}: no such file or folder")
    if not files:
        raise InputError(f"{source}: the folder holds no image ({', '.join(IMAGE_SUFFIXES)})")
    # A whole Sentinel-2 product has masks elsewhere whose names end in a band's name too.
    return [file for file in files if "IMG_DATA" in file.parts] or files


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what GDAL says of a file that cannot be read into an `InputError` that names it."""
    with _gdal(f"{path}: cannot be read as an image, it is truncated or not a raster"):
        yield


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what GDAL or the disk says of a file that cannot be written into an `InputError`."""
    with _gdal(f"{path}: cannot be written"):
        yield


@contextmanager
def _gdal(problem: str) -> Iterator[None]:
    try:
        with rasterio.Env(**_STRICT), warnings.catch_warnings():
            # Plain pictures never have a georeference: whoever needs one says so.
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            yield
    except (RasterioError, OSError) as error:
        raise InputError(f"{problem} ({str(error.__cause__ or error).strip()})") from error


def open_dataset(path: Path) -> DatasetReader:
    """Open one image file.

    Raises:
        InputError: If it is not a raster.
    """
    packed = find_packed(path)
    with reading(path):
        return rasterio.open(path if packed is None else packed.gdal_name)
