"""How long it takes to open a registry of many cards, to list it and to search it.

    python benchmarks/registry_open.py --cards 1000

Every card describes a specialist for the 13 bands of Sentinel-2; the weights are a stand-in of a
few bytes, because neither listing nor searching reads weights. Each time is that of a fresh
process; `cpu_seconds` leaves out what other processes took.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from registry import Registry, SpecialistCard
from registry.checksum import file_sha256
from sensors import load_sensor
from specialists.spec import SpecialistSpec

ACTIONS = {
    "list": "found = registry.list()",
    "search by task and GSD": "found = registry.search(task='scene-classification', gsd=10)",
    "search by bands": "found = registry.search(bands=load_sensor('sentinel-2-l1c').channels)",
}
MEASURE = """
import sys, time
started = time.perf_counter()
from registry import Registry
from sensors import load_sensor
imported, used = time.perf_counter(), time.process_time()
registry = Registry.open(sys.argv[1])
{action}
print(imported - started, time.perf_counter() - imported, time.process_time() - used, len(found))
"""


def fill(root: Path, count: int) -> None:
    """Add `count` specialists that differ in name."""
    registry = Registry.open(root)
    weights = root.parent / "weights"
    weights.write_bytes(b"stand-in")
    bands = load_sensor("sentinel-2-l1c").channels
    spec = SpecialistSpec(
        task="scene-classification",
        bands=bands,
        classes=tuple(f"class {number}" for number in range(10)),
        mean=(0.1,) * len(bands),
        std=(0.05,) * len(bands),
        gsd=10.0,
        chip_size=64,
    )
    for number in range(count):
        card = SpecialistCard(
            name=f"specialist-{number:05d}",
            version="1.0.0",
            spec=spec,
            sha256=file_sha256(weights),
            size=weights.stat().st_size,
            created="2026-01-01T00:00:00Z",
            parameters=3_390_000,
            macs=50_000_000,
            feature_channels=(40, 80, 160, 320),
            feature_reduction=(4, 8, 16, 32),
        )
        registry.store.add(card.reference, card.to_stac_item(), {card.sha256: weights})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cards", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=3, help="the fastest one is reported")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "registry"
        fill(root, options.cards)
        for name, action in ACTIONS.items():
            runs = []
            for _ in range(options.repeats):
                command = [sys.executable, "-c", MEASURE.format(action=action), str(root)]
                words = subprocess.check_output(command, text=True).split()
                runs.append(tuple(map(float, words)))
            imports, seconds, cpu_seconds, found = min(runs, key=lambda run: run[1])
            record = {
                "action": name,
                "cards": options.cards,
                "found": int(found),
                "seconds": round(seconds, 3),
                "cpu_seconds": round(cpu_seconds, 3),
                "import_seconds": round(imports, 3),
            }
            print(json.dumps(record))


if __name__ == "__main__":
    main()
