"""Post-training quantisation: a specialist's convolutions and matrix products in eight bits.

NNCF looks at what flows through the graph for some chips, and chooses ranges for weights and
activations. No labels are needed, and no training.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from rasters import ChipDataset
from sensors.errors import InputError
from specialists.compiled import CompiledSpecialist, compile_specialist
from specialists.compiled_tools import bars_on_stderr, import_nncf
from specialists.model import Specialist
from specialists.spec import SpecialistSpec

SAMPLES = 300  # NNCF's own default


def quantize_specialist(
    specialist: Specialist, chips: ChipDataset, samples: int = SAMPLES
) -> CompiledSpecialist:
    """The specialist in OpenVINO, in int8: about its answers, faster, in a quarter of the bytes.

    Ranges are symmetric (NNCF's preset `performance`): for specialists they were no worse than
    asymmetric ones or those meant for transformers, and are the fastest. The stem, and a head that
    answers for the whole image, stay in float32: they take little time, and most of the error.

    Args:
        specialist: On any device; it is left as it is.
        chips: Of its own bands, such as its training chips; labels are not read.
        samples: How many of them to look at, spread evenly.

    Raises:
        InputError: If OpenVINO or NNCF is not installed, the bands are not its own, or there are no
            chips to look at.
    """
    if samples < 1:
        raise InputError(f"samples={samples}: to choose ranges takes at least one chip")
    names, wanted = ([band.name for band in of] for of in (chips.bands, specialist.bands))
    if names != wanted:
        raise InputError(
            f"the chips have the bands {', '.join(names)}, and the specialist "
            f"{', '.join(wanted)}; name them in this order with data.bands"
        )
    nncf = import_nncf()
    compiled = compile_specialist(specialist)
    chosen = choose_calibration(chips, samples)
    with bars_on_stderr():
        model = nncf.quantize(
            compiled.model,
            nncf.Dataset(_Inputs(compiled, chosen)),
            preset=nncf.QuantizationPreset.PERFORMANCE,
            subset_size=len(chosen),
            ignored_scope=nncf.IgnoredScope(patterns=_kept(specialist.spec)),
        )
    return CompiledSpecialist(specialist.spec, model, "int8")


def choose_calibration(chips: ChipDataset, samples: int) -> ChipDataset:
    """Some chips, spread evenly over a data set; all where there are not that many."""
    rows = np.linspace(0, len(chips) - 1, min(samples, len(chips))).round().astype(int)
    return chips.subset(rows.tolist())


def _kept(spec: SpecialistSpec) -> list[str]:
    """Patterns of names of what stays in float32."""
    stem, head = r".*(backbone\.stem_0|__module\.stem|__module\.mixer).*", r".*__module\.head.*"
    return [stem] if spec.is_per_pixel else [stem, head]


class _Inputs:
    """What a graph is given for chips, one at a time; NNCF goes through it more than once."""

    def __init__(self, compiled: CompiledSpecialist, chips: ChipDataset) -> None:
        self.compiled = compiled
        self.chips = chips

    def __len__(self) -> int:
        return len(self.chips)

    def __iter__(self) -> Iterator[list[Any]]:
        for row in range(len(self.chips)):
            chip = self.chips[row]
            parts = self.compiled.inputs(chip["image"][None], valid=chip["valid"][None])
            yield [part.numpy() for part in parts]
