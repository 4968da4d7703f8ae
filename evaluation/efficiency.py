"""What an encoder costs: size, arithmetic, time, memory and electricity.

Times are medians of warmed runs. Everything but memory is measured in this process, so that other
work on the machine shows in times, and where a meter of the whole machine is read, in energy.
"""

import statistics
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import cycle
from typing import Any

import torch
from numpy.typing import ArrayLike

from evaluation._ensemble_encoders import EnsembleEncoder
from evaluation._memory import measure_memory
from evaluation._workload import Images, Step, Workload
from evaluation.context import DataContext
from evaluation.encoders import EncoderConfig
from registry import Registry
from sensors import InputError
from specialists.cost import count_call_macs, count_parameters
from specialists.energy import EnergyMeter
from specialists.run import describe_machine

_WARMUP = 2  # runs; the first allocates memory, and on CUDA chooses kernels
_REPEATS = 20
_PATIENCE = 5.0  # seconds after which no further run is timed, beyond the third
_ROUTED_IMAGES = 16  # asked one by one, where each of them may be answered by other members
_NOT_ASKED = "not asked for"


@dataclass(frozen=True)
class Efficiency:
    """Cost of one encoder on images of one kind; None where `notes` says why it was not measured.

    Args:
        input_shape: Channels, rows and columns of an image, as the encoder gets it.
        batch_size, threads, device: How it was run, where nothing else is said.
        machine: What it ran on.
        parameters: Weights that training could change.
        parameters_touched: Those of them that an image passes; fewer in an ensemble, where some
            members do not run: the mean over the test images.
        macs: Multiply-adds of one image, see `specialists.cost.count_call_macs`; of an ensemble,
            the mean over images.
        images_per_second: In batches of `batch_size`.
        latency_ms: Of one image alone; of an ensemble, each run takes another image.
        peak_memory_mb: That loading the encoder and running one batch takes at most, in 10^6 bytes:
            resident on a CPU, allocated on CUDA.
        baseline_memory_mb: Resident before, for Python, torch and the other libraries.
        energy_wh_per_1000_images: Electricity of inference in batches.
        training_images_per_second: Forward, backward and AdamW step, all weights trained (of an
            ensemble, gate and fusion), on pixels that are in memory.
        training_energy_wh_per_1000_images: The same for electricity.
        energy_method: How electricity was measured or estimated.
        notes: For each field that is None, why.
    """

    input_shape: tuple[int, int, int]
    batch_size: int
    threads: int
    device: str
    machine: dict[str, Any]
    parameters: int
    macs: int
    images_per_second: float
    latency_ms: float
    parameters_touched: int | None = None
    peak_memory_mb: float | None = None
    baseline_memory_mb: float | None = None
    energy_wh_per_1000_images: float | None = None
    training_images_per_second: float | None = None
    training_energy_wh_per_1000_images: float | None = None
    energy_method: str | None = None
    notes: dict[str, str] = field(default_factory=dict)


def measure_efficiency(
    config: EncoderConfig,
    context: DataContext,
    *,
    batch_size: int = 64,
    device: str = "cpu",
    threads: int | None = None,
    energy_seconds: float = 10.0,
    memory: bool = True,
    seed: int = 0,
    registry: Registry | None = None,
    images: Images | None = None,
    gate: Mapping[str, ArrayLike] | None = None,
) -> Efficiency:
    """Measure an encoder on images of the bands, the size and the range of a data set's chips.

    What they show is noise; an ensemble, whose gate looks at it, should be given real `images`.

    Args:
        config: The encoder.
        context: The data set.
        batch_size: Images at once.
        device: Of torch.
        threads: Of torch, on a CPU; as they are set if not given.
        energy_seconds: How long each of the two measurements of electricity lasts; 0: none.
        memory: Measure memory, in a new process, which takes some seconds to start; a script that
            asks for this needs the usual guard `if __name__ == "__main__":`.
        seed: Of random weights and pixels.
        registry: Where encoders are looked up by name.
        images: As many as `batch_size`, in place of noise.
        gate: For an ensemble, the weight of each member for every test image; by default what its
            gate decides for the batch.

    Raises:
        InputError: If there is no such encoder, none of its bands is in the data, or a number is
            not positive.
    """
    threads = torch.get_num_threads() if threads is None else threads
    if min(batch_size, threads) < 1 or energy_seconds < 0:
        raise InputError(
            f"batch_size {batch_size} and threads {threads} must be at least 1, energy_seconds "
            f"{energy_seconds} at least 0"
        )
    build = partial(
        Workload.build,
        config,
        context,
        batch_size=batch_size,
        device=device,
        seed=seed,
        registry=registry,
        images=images,
    )
    with _threads(threads):
        machine, workload = describe_machine(), build()
        module = workload.encoder.module
        routed = isinstance(module, EnsembleEncoder)
        batch = workload.inference()
        ones = list(workload.one_by_one(_ROUTED_IMAGES if routed else 1))
        found: dict[str, Any] = {
            "parameters": count_parameters(module),
            "parameters_touched": _touched(workload, gate),
            "macs": round(statistics.mean(map(count_call_macs, ones))),
            "images_per_second": batch_size / median_seconds(batch, device),
            "latency_ms": 1000 * median_seconds(_in_turn(ones), device),
        }
        notes: dict[str, str] = {}
        with _noting(notes, "energy_wh_per_1000_images", "energy_method"):
            found["energy_wh_per_1000_images"], found["energy_method"] = _watt_hours(
                batch, batch_size, energy_seconds, device
            )
        with _noting(notes, "training_images_per_second", "training_energy_wh_per_1000_images"):
            training = workload.training()
            found["training_images_per_second"] = batch_size / median_seconds(training, device)
            found["training_energy_wh_per_1000_images"], _ = _watt_hours(
                training, batch_size, energy_seconds, device
            )
    with _noting(notes, "peak_memory_mb", "baseline_memory_mb"):
        if not memory:
            raise RuntimeError(_NOT_ASKED)
        held = measure_memory(build, threads)
        found |= {"peak_memory_mb": held.peak_mb, "baseline_memory_mb": held.baseline_mb}
    return Efficiency(
        input_shape=(len(workload.bands), context.chip_size, context.chip_size),
        batch_size=batch_size,
        threads=threads,
        device=device,
        machine=machine,
        notes={name: reason for name, reason in notes.items() if name not in found},
        **found,
    )


@torch.no_grad()
def _touched(workload: Workload, gate: Mapping[str, ArrayLike] | None) -> int:
    module = workload.encoder.module
    if not isinstance(module, EnsembleEncoder):
        return count_parameters(module)
    if gate is None:
        given = (workload.x_BCHW, workload.bands, workload.valid_BCHW)
        gate = {name: weight_B.cpu() for name, weight_B in module.gate_weights(*given).items()}
    return module.parameters_touched(gate)


def _in_turn(steps: list[Step]) -> Step:
    turns = cycle(steps)
    return lambda: next(turns)()


@contextmanager
def _threads(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _noting(notes: dict[str, str], *names: str) -> Iterator[None]:
    """What cannot be measured here is noted, by the names of the fields that stay empty."""
    try:
        yield
    except (RuntimeError, ValueError) as error:
        notes |= dict.fromkeys(names, f"{error!s:.300}")


def median_seconds(step: Step, device: str) -> float:
    """Median time of a step, run in a row after a warm-up."""
    for _ in range(_WARMUP):
        step()
    _wait_for(device)
    seconds: list[float] = []
    while len(seconds) < 3 or (len(seconds) < _REPEATS and sum(seconds) < _PATIENCE):
        start = time.perf_counter()
        step()
        _wait_for(device)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def _watt_hours(step: Step, images: int, seconds: float, device: str) -> tuple[float, str]:
    """Electricity for 1,000 images, by a step of `images` repeated for some time, and the method.

    Raises:
        RuntimeError: If it cannot be measured.
    """
    if seconds == 0:
        raise RuntimeError(_NOT_ASKED)
    done = 0
    with EnergyMeter() as meter:
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            step()
            _wait_for(device)
            done += images
    used = meter.read()
    if used.kwh is None:
        raise RuntimeError(used.method)
    return used.kwh * 1e6 / done, used.method


def _wait_for(device: str) -> None:
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)
