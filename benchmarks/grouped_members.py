"""Members of one architecture one after the other, against one grouped call of all of them.

    python benchmarks/grouped_members.py

The grouped call stacks the weights and maps over them (`torch.func.stack_module_state`, `vmap`).
Medians of warmed runs in turns, in this process.
"""

import argparse
import copy
import statistics
import time
from collections.abc import Callable

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.func import functional_call, stack_module_state

from specialists.backbone import build_backbone


def measure(steps: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Milliseconds of each step."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(repeats + 2):
        for name, step in steps.items():
            begun = time.perf_counter()
            step()
            if turn >= 2:
                times[name].append(1000 * (time.perf_counter() - begun))
    return {name: statistics.median(values) for name, values in times.items()}


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--members", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=15)
    arguments = parser.parse_args()
    networks = [
        build_backbone("convnextv2_atto", 6).eval().requires_grad_(False)
        for _ in range(arguments.members)
    ]
    weights, buffers = stack_module_state(networks)
    skeleton = copy.deepcopy(networks[0]).to("meta")

    def call(own: dict[str, Tensor], kept: dict[str, Tensor], x_BCHW: Tensor) -> object:
        return functional_call(skeleton, (own, kept), (x_BCHW,))

    grouped = torch.vmap(call, in_dims=(0, 0, None))
    table = Table("images", "pixels", "one by one, ms", "grouped, ms", "ratio")
    for batch, size in ((1, 64), (8, 64), (32, 64), (1, 224)):
        x_BCHW = torch.randn(batch, 6, size, size)
        with torch.inference_mode():
            found = measure(
                {
                    "one": lambda x=x_BCHW: [network(x) for network in networks],  # type: ignore[misc]
                    "grouped": lambda x=x_BCHW: grouped(weights, buffers, x),  # type: ignore[misc]
                },
                arguments.repeats,
            )
        table.add_row(
            str(batch),
            str(size),
            f"{found['one']:.1f}",
            f"{found['grouped']:.1f}",
            f"{found['one'] / found['grouped']:.2f}",
        )
    Console().print(table)


if __name__ == "__main__":
    main()
