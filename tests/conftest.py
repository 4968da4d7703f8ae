"""Fixtures shared by all tests."""

import io
import os
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow
import pytest
import rasterio
from pyarrow.parquet import write_table
from rasterio.errors import NotGeoreferencedWarning


def pytest_configure() -> None:
    """What is printed is as wide everywhere: in a terminal, a pipe, one of several workers."""
    os.environ["COLUMNS"] = "200"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data sets, named by TERRAGUILD_DATA or lying beside the checkout."""
    named = os.environ.get("TERRAGUILD_DATA")
    folder = Path(named) if named else Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}: set TERRAGUILD_DATA to the folder of data sets")
    return folder


@pytest.fixture(scope="session")
def toy_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small labelled data sets of every task; what is asked for can be told from the colours.

    - `scenes/<class>/*.png`: 3 classes of 12 chips, 16 x 16;
    - `images/*.png` and `masks/*.tif`: 6 chips of 32 x 32, 1 where it is bright, 255 on the left
      edge; `heights/*.tif`: 100 to 300 by brightness, NaN on the left edge;
    - `labels.csv`: the scenes again, with several labels (`labels`) and two values (`warmth`,
      `depth`) each.
    """
    folder = tmp_path_factory.mktemp("toy")
    draw = np.random.default_rng(0)
    rows = ["file,labels,warmth,depth,place"]
    colors = {"field": (60, 180, 60), "lake": (20, 40, 120), "roof": (200, 80, 70)}
    for name, color in colors.items():
        for number in range(12):
            pixels_CHW = np.array(color)[:, None, None] + draw.normal(0, 12, (3, 16, 16))
            _write_picture(folder / "scenes" / name / f"{name}_{number}.png", pixels_CHW)
            labels = {"field": "green", "lake": "cool;wet", "roof": "dry;warm"}[name]
            red, _, blue = pixels_CHW.mean((1, 2))
            rows.append(
                f"scenes/{name}/{name}_{number}.png,{labels},{280 + red / 10},{blue},p{number % 4}"
            )
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    for number in range(6):
        ramp_HW = np.linspace(0, 250, 32)[None] + draw.normal(0, 3, (32, 32))
        ramp_HW = np.rot90(ramp_HW, number).clip(0, 255)
        _write_picture(folder / "images" / f"{number}.png", np.repeat(ramp_HW[None], 3, 0))
        mask_HW = (ramp_HW > 125).astype(np.uint8)
        height_HW = (100 + ramp_HW * 0.8).astype(np.float32)
        mask_HW[:, 0], height_HW[:, 0] = 255, np.nan
        for kind, values_HW in (("masks", mask_HW), ("heights", height_HW)):
            _write(folder / kind / f"{number}.tif", values_HW[None], driver="GTiff")
    return folder


def _write_picture(path: Path, pixels_CHW: np.ndarray) -> None:
    _write(path, pixels_CHW.clip(0, 255).astype(np.uint8), driver="PNG")


def _write(path: Path, values_CHW: np.ndarray, driver: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    count, height, width = values_CHW.shape
    size = {"count": count, "height": height, "width": width, "dtype": values_CHW.dtype}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path, "w", driver=driver, **size) as dataset:
            dataset.write(values_CHW)


@pytest.fixture(scope="session")
def pack_tortilla() -> Callable[..., bytes]:
    """Bytes of a tortilla of items `(id, format, bytes, further columns)`."""

    def make(items, magic=b"#y") -> bytes:
        body, rows, start = b"", [], 200  # the header, padded
        for name, kind, content, columns in items:
            place = {"tortilla:offset": start + len(body), "tortilla:length": len(content)}
            rows.append({"tortilla:id": name, "tortilla:file_format": kind} | place | columns)
            body += content
        footer = io.BytesIO()
        write_table(pyarrow.Table.from_pylist(rows), footer)
        numbers = [start + len(body), footer.tell()]
        header = magic + b"".join(number.to_bytes(8, "little") for number in numbers)
        return header.ljust(start, b"\0") + body + footer.getvalue()

    return make
