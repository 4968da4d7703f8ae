"""Feature extraction against the encoder alone on the same batches: is loading hidden behind it?

    python benchmarks/feature_extraction.py

A ConvNeXtV2-Atto with random weights on generated 4-band GeoTIFFs of 64 and 224 pixels. In turns:
the encoder on batches that are ready in memory; the whole extraction of chips that are in memory;
and the whole extraction with every file opened and decoded, as on a first pass (the files
themselves are in the system's page cache). Whole means: features pooled, checked and written.
Prints medians of chips per second and their ratio to the encoder's own.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import torch
from rasterio.transform import from_origin
from rich.console import Console
from rich.table import Table
from torch.utils.data import DataLoader

from evaluation.encoders import DataContext, EncoderConfig, LoadedEncoder, load_encoder
from evaluation.features import extract_features
from rasters import ChipDataset
from specialists.loading import collate

SENSOR, BANDS = "sentinel-2-l2a", ["B02", "B03", "B04", "B08"]
WORK = ((64, 1024, 64), (224, 160, 32))
"""Edge of a chip, number of chips, chips a batch."""


def write_chips(folder: Path, size: int, count: int) -> None:
    """Two classes of chips whose pixels vary from one to the next, as those of real scenes do."""
    draw = np.random.default_rng(0)
    profile = {
        "driver": "GTiff",
        "count": len(BANDS),
        "width": size,
        "height": size,
        "dtype": "uint16",
        "compress": "deflate",
        "predictor": 2,
        "crs": "EPSG:32633",
        "transform": from_origin(500_000, 5_000_000, 10, 10),
    }
    for number in range(count):
        path = folder / f"class_{number % 2}" / f"{number:05d}.tif"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels_CHW = draw.normal(2000, 300, (len(BANDS), size, size)).astype(np.uint16)
        with rasterio.open(path, "w", **profile) as file:
            file.write(pixels_CHW)


def read_chips(folder: Path, cache: bool) -> ChipDataset:
    return ChipDataset.from_folders(folder, sensor=SENSOR, bands=BANDS, cache=cache)


@torch.inference_mode()
def encode(encoder: LoadedEncoder, batches: list[dict[str, Any]]) -> None:
    """The encoder alone."""
    module: Any = encoder.module
    for batch in batches:
        module.forward_features(batch["image"], encoder.bands, batch["valid"])


def extract(encoder: LoadedEncoder, chips: Callable[[], ChipDataset], batch_size: int) -> None:
    """Everything, into an empty cache."""
    with tempfile.TemporaryDirectory() as cache:
        extract_features(encoder, chips(), cache=Path(cache), batch_size=batch_size)


def measure(size: int, count: int, batch_size: int, repeats: int) -> dict[str, float]:
    """Median chips per second of each way, taken in turns after a warm-up."""
    with tempfile.TemporaryDirectory() as folder:
        write_chips(Path(folder), size, count)
        kept = read_chips(Path(folder), cache=True)
        context = DataContext.measure(kept)
        encoder = load_encoder(EncoderConfig("random:convnextv2_atto"), context)
        batches = list(DataLoader(kept, batch_size, collate_fn=collate))
        ways = {
            "encoder alone": partial(encode, encoder, batches),
            "chips in memory": partial(extract, encoder, lambda: kept, batch_size),
            "files decoded": partial(
                extract, encoder, lambda: read_chips(Path(folder), cache=False), batch_size
            ),
        }
        times: dict[str, list[float]] = {name: [] for name in ways}
        for turn in range(1 + repeats):
            for name, way in ways.items():
                started = time.perf_counter()
                way()
                if turn:
                    times[name].append(time.perf_counter() - started)
    return {name: count / statistics.median(seconds) for name, seconds in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, help="of torch; by default all cores")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    table = Table("pixels", "chips", "batch", "way", "chips / s", "of the encoder's own")
    for size, count, batch_size in WORK:
        rates = measure(size, count, batch_size, arguments.repeats)
        for name, rate in rates.items():
            share = rate / rates["encoder alone"]
            table.add_row(
                str(size), str(count), str(batch_size), name, f"{rate:.0f}", f"{share:.0%}"
            )
    console = Console()
    console.print(table)
    console.print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, medians")


if __name__ == "__main__":
    main()
