"""One registered specialist in torch, in OpenVINO, and in OpenVINO with int8.

    python benchmarks/quantizing.py s2-landcover --data eurosat_ms --out runs/quantizing.json

Score with interval on the test split, latency of a warmed run, and bytes: all in one run, with as
many threads for OpenVINO as torch has. The registry is only read.
"""

import argparse
import json
import os
from pathlib import Path

import torch
from rich.console import Console

from evaluation.before_after import tabulate
from evaluation.own_data import check_bands, check_task
from evaluation.quantizing import measure_forms
from registry import Registry
from specialists.compiled import compile_specialist
from specialists.compiled_int8 import SAMPLES, quantize_specialist
from specialists.compiled_tools import tool_versions
from specialists.data import load_splits
from specialists.named_data import load_data_config
from specialists.run import describe_machine


def main() -> None:
    """Measure all three, and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("specialist", help="registered, NAME or NAME@VERSION")
    parser.add_argument("--data", required=True, help="its data set, a name in configs/data")
    parser.add_argument("--root", default=os.environ.get("TERRAGUILD_DATA", "data"))
    parser.add_argument("--registry", help="folder of the registry")
    parser.add_argument("--samples", type=int, default=SAMPLES, help="chips for calibration")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, help="JSON file of the figures")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    registry = Registry.open(arguments.registry)
    card = registry.specialist(arguments.specialist)
    chips = load_splits(load_data_config(arguments.data, arguments.root)).chips
    for check in (check_bands, check_task):
        check(str(card.reference), card.spec, arguments.data, chips["train"])
    specialist = registry.get(card.reference)
    forms = {
        "torch float32": specialist,
        "OpenVINO float32": compile_specialist(specialist),
        "OpenVINO int8": quantize_specialist(specialist, chips["train"], arguments.samples),
    }
    split = "test" if "test" in chips else "selection"
    rows = measure_forms(forms, card, chips[split])
    title = f"{card.reference}, {split} split of {arguments.data}, {arguments.threads} threads"
    Console().print(tabulate(title, rows))
    if arguments.out:
        record = {
            "specialist": str(card.reference),
            "sha256": card.sha256,
            "data": arguments.data,
            "split": split,
            "samples": arguments.samples,
            "machine": describe_machine(),
            "versions": {"torch": torch.__version__, **tool_versions("openvino", "nncf")},
            "rows": [row.to_dict() for row in rows],
        }
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
