"""Electricity that a stretch of work takes, measured by codecarbon without a network.

Where the processor has a meter that may be read (Intel's RAPL), it is read, for the whole machine;
where not, as in most virtual machines, its power is estimated from its design power and the share
of it that this process and its children use. Memory is always estimated, GPUs are read. Settings
of the machine that codecarbon takes from its own configuration file or environment, such as
`CODECARBON_FORCE_CPU_POWER`, are kept; those that would send or write anything are not.
"""

import logging
from dataclasses import dataclass
from importlib.metadata import version
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from codecarbon import OfflineEmissionsTracker

_CPU_ESTIMATES = {
    "cpu_load": "processor estimated from its load and {power:g} W at full load",
    "constant": "processor estimated at half of {power:g} W",
}


@dataclass(frozen=True)
class Energy:
    """Electricity used.

    Args:
        kwh: Kilowatt-hours, or None if it could not be measured.
        method: How it was measured or estimated, or why it was not.
    """

    kwh: float | None
    method: str


class EnergyMeter:
    """Measures from `start` to `stop`, or inside a `with`; a meter that fails stops nothing.

    The first start in a process takes one to two seconds, in which the processor is identified. It
    is silent and leaves no file behind.
    """

    def __init__(self) -> None:
        self._tracker: OfflineEmissionsTracker | None = None
        self._folder: TemporaryDirectory[str] | None = None
        self._reports: list[Any] = []
        self._problem = "codecarbon gave no reading"
        self._method = ""

    def start(self) -> None:
        """Begin to measure."""
        try:
            # Some of its meters write a log into its output folder.
            self._folder = TemporaryDirectory()
            self._tracker = _build_tracker(self._reports, self._folder.name)
            self._tracker.start()
            self._method = _describe(self._tracker)
        except Exception as error:  # whatever is wrong with a meter, the work goes on
            self._problem = f"codecarbon did not start: {error}"

    def read(self) -> Energy:
        """Electricity used so far, or until `stop`."""
        if self._tracker is not None:
            self._tracker.flush()
        if not self._reports or not self._method:
            return Energy(None, self._problem)
        return Energy(float(self._reports[-1].energy_consumed), self._method)

    def stop(self) -> None:
        """End the measurement; a second call does nothing."""
        if self._tracker is not None:
            self._tracker.stop()
            self._tracker = None
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()


def _build_tracker(reports: list[Any], folder: str) -> "OfflineEmissionsTracker":
    from codecarbon import OfflineEmissionsTracker
    from codecarbon.output_methods.base_output import BaseOutput
    from codecarbon.output_methods.emissions_data import EmissionsData

    class Keep(BaseOutput):
        """Takes what the tracker would otherwise write to a file."""

        def out(self, total: EmissionsData, delta: EmissionsData) -> None:
            reports[:] = [total]

    # Its own `log_level` takes effect only after it has logged.
    logging.getLogger("codecarbon").setLevel(logging.CRITICAL)
    return OfflineEmissionsTracker(
        tracking_mode="process",
        output_methods=[],
        output_handlers=[Keep()],
        output_dir=folder,
        emissions_endpoint=None,
        electricitymaps_api_token=None,
        log_level="critical",
        allow_multiple_runs=True,
        # Only electricity is asked for; without this, a country would be.
        force_carbon_intensity_g_co2e_kwh=0.0,
    )


def _describe(tracker: "OfflineEmissionsTracker") -> str:
    """How each part of the machine is measured; codecarbon tells it only to its log."""
    from codecarbon.external.hardware import CPU, GPU
    from codecarbon.external.ram import RAM

    parts = []
    for part in tracker._hardware:
        if isinstance(part, CPU) and part._mode in _CPU_ESTIMATES:
            parts.append(_CPU_ESTIMATES[part._mode].format(power=part._tdp))
        elif isinstance(part, CPU):
            parts.append(f"processor read ({part._mode.replace('intel_rapl', 'RAPL')})")
        elif isinstance(part, GPU):
            parts.append("GPU read")
        elif isinstance(part, RAM):
            parts.append("memory estimated")
        else:
            parts.append(part.description())
    return f"codecarbon {version('codecarbon')}: {', '.join(parts)}"
