"""Peak memory of an encoder, in a process that does nothing else."""

import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import torch

from evaluation._workload import Workload

_PROCESS = Path("/proc/self")


@dataclass(frozen=True)
class Memory:
    """Megabytes (10^6 bytes) of one process.

    Args:
        baseline_mb: Resident with Python, torch and the rest loaded, but no encoder.
        peak_mb: What loading the encoder and running one batch took at most on top of it, or on
            CUDA, what was allocated there.
    """

    baseline_mb: float
    peak_mb: float


def measure_memory(build: Callable[[], Workload], threads: int) -> Memory:
    """Memory to load an encoder and run one batch, in a new process.

    A script that calls this needs the usual guard `if __name__ == "__main__":`.

    Args:
        build: Makes the workload; must be picklable.
        threads: Of torch, on a CPU.

    Raises:
        RuntimeError: If the process died, or this system does not tell its memory.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        try:
            return pool.submit(_measure_here, build, threads).result()
        except BrokenProcessPool as error:
            raise RuntimeError("the process died, perhaps for want of memory") from error


def _measure_here(build: Callable[[], Workload], threads: int) -> Memory:
    torch.set_num_threads(threads)
    _forget_peak()
    baseline = _resident_bytes("VmRSS")
    workload = build()
    workload.inference()()
    if workload.x_BCHW.is_cuda:
        peak = torch.cuda.max_memory_allocated(workload.x_BCHW.device)
    else:
        peak = _resident_bytes("VmHWM") - baseline
    return Memory(baseline / 1e6, peak / 1e6)


def _forget_peak() -> None:
    """Importing libraries may have taken more than they hold; see `man 5 proc_pid_clear_refs`."""
    with suppress(OSError):
        (_PROCESS / "clear_refs").write_text("5")


def _resident_bytes(entry: str) -> int:
    """`VmRSS`, resident now, or `VmHWM`, at most so far.

    Not from `getrusage`: on Linux a new process inherits the peak of the one that started it.
    """
    try:
        status = (_PROCESS / "status").read_text()
    except OSError as error:
        raise RuntimeError(
            f"{sys.platform} does not tell the memory of a process: {error}"
        ) from error
    for line in status.splitlines():
        name, _, value = line.partition(":")
        if name == entry:
            return int(value.split()[0]) * 1024
    raise RuntimeError(f"{_PROCESS}/status has no {entry}")
