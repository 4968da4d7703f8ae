"""A trunk of DOFA-B's size against TorchGeo's DOFA-B, with the same weights, in one run.

    python benchmarks/trunk_speed.py --memory
    python benchmarks/trunk_speed.py --memory --device cuda --batches 1 64 256

Images of 224 pixels in 9 and 202 bands: inference to the pooled vector, the patch embedding alone,
and a training step (forward, backward) without an optimiser. In turns; medians after a warm-up, and
their ratio. Ours gets pixels as they are and normalises them, TorchGeo's gets them normalised.
Peak memory is that of a process that does nothing but three such steps, above what it held before
(CPU), or the allocator's (CUDA). On CUDA all runs under bf16 autocast, and images/s and the share
of the chip's dense bf16 peak are those of the multiply-adds without the generator's.
"""

import argparse
import multiprocessing
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torchgeo.models import dofa_base_patch16_224

from router import TRUNKS, build_trunk
from router.trunk_spec import DOFA_V1
from sensors import Band
from specialists.cost import count_call_macs

SIZE, WARM_UP = 224, 2
PROCESS = Path("/proc/self")
STEPS = ("inference", "patch embedding", "training step")


class Contestants:
    """Both networks with the same weights, and an image batch for them."""

    def __init__(self, bands: int, batch: int, device: str) -> None:
        torch.manual_seed(0)
        self.device = torch.device(device)
        self.theirs: Any = dofa_base_patch16_224(num_classes=0).to(device)
        self.ours = build_trunk(replace(TRUNKS["dofa-base"], **DOFA_V1)).to(device)
        self.ours.load_state_dict(self.theirs.state_dict())
        self.wavelengths = torch.linspace(0.42, 2.44, bands).tolist()
        self.bands = [Band(f"B{k}", value, 0.01) for k, value in enumerate(self.wavelengths)]
        self.x_BCHW = torch.rand(batch, bands, SIZE, SIZE, device=device)

    def ways(self, step: str) -> dict[str, Callable[[], None]]:
        """The same step of TorchGeo's network and of ours."""
        training = step == "training step"
        for network in (self.theirs, self.ours):
            network.train(training).zero_grad()
        places = torch.tensor(self.wavelengths, device=self.device)
        calls: dict[str, dict[str, Callable[[], Tensor]]] = {
            "TorchGeo": {
                "patch embedding": lambda: self.theirs.patch_embed(self.x_BCHW, places)[0],
                "": lambda: self.theirs.forward_features(self.x_BCHW, self.wavelengths),
            },
            "ours": {
                "patch embedding": lambda: self.ours.patch_embed(self.x_BCHW, self.bands),
                "": lambda: self.ours.embed(self.x_BCHW, self.bands),
            },
        }
        networks = {"TorchGeo": self.theirs, "ours": self.ours}

        def run(name: str) -> None:
            call = calls[name].get(step, calls[name][""])
            with (
                torch.set_grad_enabled(training),
                torch.autocast(self.device.type, torch.bfloat16, enabled=self.on_gpu),
            ):
                answer = call()
            if training:
                networks[name].zero_grad()
                answer.float().square().mean().backward()
            if self.on_gpu:
                torch.cuda.synchronize()

        return {name: lambda name=name: run(name) for name in networks}

    @property
    def on_gpu(self) -> bool:
        """Whether they run on CUDA."""
        return self.device.type == "cuda"


def median_times(ways: dict[str, Callable[[], None]], repeats: int) -> dict[str, float]:
    """Median seconds of each way, taken in turns."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(WARM_UP + repeats):
        for name, way in ways.items():
            started = time.perf_counter()
            way()
            if turn >= WARM_UP:
                times[name].append(time.perf_counter() - started)
    return {name: statistics.median(seconds) for name, seconds in times.items()}


def peak_memory(name: str, step: str, bands: int, batch: int, device: str) -> float:
    """MiB above what both networks and the images take."""
    contestants = Contestants(bands, batch, device)
    way = contestants.ways(step)[name]
    if contestants.on_gpu:
        torch.cuda.reset_peak_memory_stats()
        held = torch.cuda.memory_allocated()
    else:
        (PROCESS / "clear_refs").write_text("5")  # forgets the peak of building the networks
        held = resident_bytes("VmRSS")
    for _ in range(3):
        way()
    peak = torch.cuda.max_memory_allocated() if contestants.on_gpu else resident_bytes("VmHWM")
    return (peak - held) / 2**20


def resident_bytes(entry: str) -> int:
    """Of this process: `VmRSS` now, `VmHWM` at its peak."""
    status = dict(line.split(":", 1) for line in (PROCESS / "status").read_text().splitlines())
    return int(status[entry].split()[0]) * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--bands", type=int, nargs="+", default=[9, 202])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--steps", nargs="+", choices=STEPS, default=STEPS)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, help="of torch; by default all cores")
    parser.add_argument("--peak-tflops", type=float, default=989.0, help="dense bf16, of the chip")
    parser.add_argument("--memory", action="store_true", help="measure peak memory, too (slower)")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    table = Table(
        "step",
        "bands",
        "batch",
        "TorchGeo, ms / image",
        "ours, ms / image",
        "ratio",
        "TorchGeo, MiB",
        "ours, MiB",
    )
    rates = Table("step", "bands", "batch", "who", "images / s", "of bf16 peak")
    spawn = multiprocessing.get_context("spawn")
    for bands in arguments.bands:
        for batch in arguments.batches:
            contestants = Contestants(bands, batch, arguments.device)
            for step in arguments.steps:
                ways = contestants.ways(step)
                medians = median_times(ways, arguments.repeats)
                memory = {}
                for name in ways if arguments.memory else ():
                    with spawn.Pool(1) as pool:
                        given = (name, step, bands, batch, arguments.device)
                        memory[name] = pool.apply(peak_memory, given)
                table.add_row(
                    step,
                    str(bands),
                    str(batch),
                    *(f"{medians[name] / batch * 1e3:.1f}" for name in ways),
                    f"{medians['TorchGeo'] / medians['ours']:.2f}",
                    *(f"{memory[name]:.0f}" if memory else "" for name in ways),
                )
                if contestants.on_gpu:
                    contestants.ways("inference")["ours"]()  # filters are generated and kept
                    macs = count_call_macs(contestants.ways("inference")["ours"])
                    passes = {"inference": 1, "patch embedding": 0, "training step": 3}[step]
                    for name in ways:
                        share = 2 * macs * passes / medians[name] / arguments.peak_tflops / 1e12
                        rates.add_row(
                            step,
                            str(bands),
                            str(batch),
                            name,
                            f"{batch / medians[name]:.0f}",
                            f"{share:.1%}" if passes else "",
                        )
    console = Console()
    console.print(table)
    if rates.rows:
        console.print(rates)
    console.print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, medians")


if __name__ == "__main__":
    main()
