"""Time and peak memory of mapping scenes of growing size: memory must not grow with the scene.

    python benchmarks/map_large_scene.py --sizes 2048 8192

Every size runs in a process of its own, so that its peak memory is its own. The scene is
written tile by tile beforehand (four Sentinel-2 bands, uint16), the specialist has seeded random
weights: neither changes what the work costs.
"""

import argparse
import json
import platform
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import torch
from rasterio.transform import from_origin
from rich.console import Console
from rich.table import Table
from scipy.ndimage import zoom

from mapping import predict_map
from sensors import load_sensor
from specialists.model import build_specialist
from specialists.spec import SpecialistSpec

SENSOR, BANDS = "sentinel-2-l2a", ("B02", "B03", "B04", "B08")
CLASSES = ("water", "forest", "crop", "grass", "built-up", "bare soil")
TILE = 512


def main() -> None:
    options = parse_arguments()
    if options.scene:
        print(json.dumps(measure(options)))
        return
    results = []
    with tempfile.TemporaryDirectory() as folder:
        for size in options.sizes:
            scene = Path(folder) / f"scene_{size}.tif"
            write_scene(scene, size, options.seed)
            command = [sys.executable, __file__, *sys.argv[1:], "--scene", str(scene)]
            output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
            results.append({"size": size} | json.loads(output))
            scene.unlink()
    report = {
        "command": " ".join(["python", *sys.argv]),
        "seed": options.seed,
        "window": options.window,
        "overlap": options.overlap,
        "task": options.task,
        "threads": torch.get_num_threads(),
        "device": options.device,
        "machine": f"{platform.machine()}, {platform.system()}",
        "versions": {"torch": torch.__version__, "gdal": rasterio.__gdal_version__},
        "results": results,
    }
    print_table(results)
    print(json.dumps(report, indent=2))
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[2048, 8192], help="scene sides")
    parser.add_argument("--task", default="semantic-segmentation")
    parser.add_argument("--window", type=int, default=128)
    parser.add_argument("--overlap", type=float, default=0.5)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--probabilities", action="store_true")
    parser.add_argument("--json", type=Path, help="write the report here too")
    parser.add_argument("--scene", type=Path, help=argparse.SUPPRESS)  # the child's work
    return parser.parse_args()


def write_scene(path: Path, size: int, seed: int) -> None:
    """Write a smooth random scene tile by tile, so that writing it is bounded in memory too."""
    generator = np.random.default_rng(seed)
    profile = {
        "driver": "GTiff",
        "width": size,
        "height": size,
        "count": len(BANDS),
        "dtype": "uint16",
        "crs": "EPSG:32633",
        "transform": from_origin(300000, 5900040, 10, 10),
        "tiled": True,
        "blockxsize": TILE,
        "blockysize": TILE,
        "compress": "deflate",
        "BIGTIFF": "IF_SAFER",
    }
    with rasterio.open(path, "w", **profile) as dataset:
        dataset.descriptions = BANDS
        for _, window in dataset.block_windows(1):
            coarse = generator.uniform(200, 4000, (len(BANDS), TILE // 32 + 1, TILE // 32 + 1))
            fine = zoom(coarse, (1, TILE / coarse.shape[1], TILE / coarse.shape[2]), order=1)
            fine += generator.normal(0, 50, fine.shape)
            tile = fine.clip(1, 10000).astype(np.uint16)
            dataset.write(tile[:, : int(window.height), : int(window.width)], window=window)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Map the scene in this process, and read off what it took."""
    torch.manual_seed(options.seed)
    sensor = load_sensor(SENSOR, "02.00")
    specialist = build_specialist(
        SpecialistSpec(
            task=options.task,
            bands=sensor.select(*BANDS),
            classes=CLASSES,
            mean=(0.2,) * len(BANDS),
            std=(0.1,) * len(BANDS),
            gsd=10,
            chip_size=options.window,
        )
    ).freeze()
    before = peak_megabytes()
    from mapping.backends import TorchBackend

    result = predict_map(
        options.scene,
        specialist,
        options.scene.with_name("map.tif"),
        sensor=sensor,
        overlap=options.overlap,
        batch_size=options.batch_size,
        probabilities=options.probabilities,
        backend=TorchBackend(specialist, options.device),
    )
    pixels = result.pixels + result.nodata_pixels
    return {
        "windows": result.windows,
        "seconds": round(result.seconds, 1),
        "megapixels_per_second": round(pixels / 1e6 / result.seconds, 3),
        "peak_before_mapping_mb": before,
        "peak_mb": peak_megabytes(),
    }


def peak_megabytes() -> int:
    """Highest resident memory of this process so far."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def print_table(results: list[dict[str, Any]]) -> None:
    table = Table("scene", "windows", "seconds", "Mpixel/s", "MB before", "peak MB")
    for row in results:
        table.add_row(
            f"{row['size']} x {row['size']}",
            f"{row['windows']:,}",
            f"{row['seconds']:,}",
            str(row["megapixels_per_second"]),
            str(row["peak_before_mapping_mb"]),
            str(row["peak_mb"]),
        )
    Console(stderr=True).print(table)


if __name__ == "__main__":
    main()
