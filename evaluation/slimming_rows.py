"""The table of a slimming: what the specialist was worth and cost before, and is after."""

import math
from collections.abc import Mapping

import torch

from evaluation.before_after import Row, measure_latency, measure_row
from evaluation.intervals import Interval
from rasters import ChipDataset
from sensors.errors import InputError
from specialists.cost import count_macs, count_parameters
from specialists.model import Specialist
from specialists.run import RunFolder

FILE = "slimming.json"


def measure_rows(
    networks: Mapping[str, tuple[Specialist, int]],
    chips: ChipDataset,
    device: torch.device | str = "cpu",
    *,
    is_scored: bool = True,
) -> list[Row]:
    """Measure networks one after the other on the same chips.

    Args:
        networks: What the table calls each, with the network and the bytes of its file.
        chips: Of its bands; labelled, if they are to be scored.
        device: Of torch.
        is_scored: Whether there is a score; without one, it is NaN.
    """
    rows = []
    for name, (network, size) in networks.items():
        network.to(device).eval()
        if is_scored:
            rows.append(measure_row(name, network, chips, file_bytes=size, device=str(device)))
        else:
            rows.append(_measure_cost(name, network, chips, size, str(device)))
    return rows


def read_rows(run: RunFolder) -> list[Row]:
    """The rows that a finished run has recorded.

    Raises:
        InputError: If it has recorded none.
    """
    try:
        return [Row.from_dict(record) for record in run.read_json(FILE)["rows"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{run.path / FILE} cannot be read ({error!r:.200}); slim again with overwrite=true"
        ) from error


def _measure_cost(
    name: str, network: Specialist, chips: ChipDataset, size: int, device: str
) -> Row:
    unknown = Interval(math.nan, math.nan, math.nan, 0, "samples", len(chips))
    latency_ms = measure_latency(network, chips, device=device)
    macs = count_macs(network, chips[0]["image"].shape[-1])
    return Row(name, "no score", unknown, count_parameters(network), macs, size, latency_ms)
