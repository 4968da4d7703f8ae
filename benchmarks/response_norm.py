"""A ConvNeXtV2-Atto with timm's global response norm against the same with ours, in one run.

    python benchmarks/response_norm.py

Median of alternating steps at 64 pixels, batch 64, after a warm-up; prints times and their ratio.
"""

import statistics
import time
from collections.abc import Callable

import timm
import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from specialists.backbone import build_backbone

STEPS, WARM_UP = 12, 3


def training_step(network: nn.Module, x_BCHW: torch.Tensor) -> None:
    """Forward and backward."""
    network.zero_grad()
    sum(level.mean() for level in network(x_BCHW)).backward()


@torch.inference_mode()
def inference(network: nn.Module, x_BCHW: torch.Tensor) -> None:
    """Forward alone."""
    network(x_BCHW)


def median_times(
    step: Callable[[nn.Module, torch.Tensor], None],
    networks: dict[str, nn.Module],
    x_BCHW: torch.Tensor,
) -> dict[str, float]:
    """Median seconds of a step for each network, taken in turns."""
    times: dict[str, list[float]] = {name: [] for name in networks}
    for turn in range(WARM_UP + STEPS):
        for name, network in networks.items():
            started = time.perf_counter()
            step(network, x_BCHW)
            if turn >= WARM_UP:
                times[name].append(time.perf_counter() - started)
    return {name: statistics.median(values) for name, values in times.items()}


def main() -> None:
    """Measure both steps and print a table."""
    torch.manual_seed(0)
    networks: dict[str, nn.Module] = {
        "timm": timm.create_model("convnextv2_atto", features_only=True, in_chans=13),
        "ours": build_backbone("convnextv2_atto", 13),
    }
    x_BCHW = torch.rand(64, 13, 64, 64)
    table = Table("step", "timm, ms", "ours, ms", "timm / ours")
    for name, step in (("training", training_step), ("inference", inference)):
        medians = median_times(step, networks, x_BCHW)
        table.add_row(
            name,
            f"{medians['timm'] * 1e3:.0f}",
            f"{medians['ours'] * 1e3:.0f}",
            f"{medians['timm'] / medians['ours']:.2f}",
        )
    console = Console()
    console.print(table)
    console.print(
        f"torch {torch.__version__}, timm {timm.__version__}, {torch.get_num_threads()} threads"
    )


if __name__ == "__main__":
    main()
