"""What a specialist is, as plain data: enough to rebuild its network, nothing that runs code."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sensors.bands import Channel
from sensors.choice import BandChoice
from sensors.errors import InputError
from sensors.plan import BandPlan
from specialists.task_spec import TaskSpec, check_choice, check_rate

PUBLISHED = {
    "convnextv2_atto": ((40, 80, 160, 320), (2, 2, 6, 2)),
    "convnextv2_femto": ((48, 96, 192, 384), (2, 2, 6, 2)),
    "convnextv2_pico": ((64, 128, 256, 512), (2, 2, 6, 2)),
    "convnextv2_nano": ((80, 160, 320, 640), (2, 2, 8, 2)),
    "convnextv2_tiny": ((96, 192, 384, 768), (3, 3, 9, 3)),
}
"""Width and number of blocks of each stage (ConvNeXt V2, arXiv 2301.00808)."""
ARCHITECTURES = tuple(PUBLISHED)
STEMS = ("fixed", "wavelength")
"""First convolutions: of one filter a band, or of filters that follow from what a band measures."""
HIDDEN_FACTOR = 4
"""How many times wider than its stage the hidden layer of a block is, as published."""


@dataclass(frozen=True, kw_only=True)
class SpecialistSpec(TaskSpec):
    """Everything that `build_specialist` needs: the task and, beside it, the backbone.

    Args:
        architecture: One of `ARCHITECTURES`, timm's names.
        stem: One of `STEMS`. With `wavelength`, see `specialists.stem`, the network takes any bands
            that are like one of `bands`: these are then those that it knows, not those it needs.
        stem_stride: 4 as published, or 2 for small chips (about four times the multiply-adds).
        drop_path_rate: Stochastic depth of the backbone, only in training.
        stage_widths: Channels of each stage of a slimmed backbone; none for those published.
        hidden_widths: Channels of the hidden layer of each block of a slimmed backbone, from the
            first to the last; none for `HIDDEN_FACTOR` times those published for its stage.

    Raises:
        InputError: If a value is not one of those named above, or the task is refused.
    """

    architecture: str = "convnextv2_atto"
    stem: str = "fixed"
    stem_stride: int = 4
    drop_path_rate: float = 0.0
    stage_widths: tuple[int, ...] = ()
    hidden_widths: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("stage_widths", "hidden_widths"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        check_choice("architecture", self.architecture, ARCHITECTURES)
        check_choice("stem", self.stem, STEMS)
        check_choice("stem_stride", self.stem_stride, (4, 2))
        check_rate("drop_path_rate", self.drop_path_rate)
        widths, depths = PUBLISHED[self.architecture]
        hidden = [
            HIDDEN_FACTOR * width
            for width, depth in zip(widths, depths, strict=True)
            for _ in range(depth)
        ]
        _check_widths("stage_widths", self.stage_widths, widths, self.architecture)
        _check_widths("hidden_widths", self.hidden_widths, hidden, self.architecture)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON form, as of any task; of stem and widths, what is not as published.

        So a specialist that has neither has the file and the card that it always had.
        """
        record = super().to_dict()
        if not self.takes_any_known:
            del record["stem"]
        return {
            name: value for name, value in record.items() if value or not name.endswith("_widths")
        }

    @property
    def takes_any_known(self) -> bool:
        """Whether it takes any bands that are like one of its own, not only all of its own."""
        return self.stem == "wavelength"

    def match(self, given: Sequence[Channel]) -> BandPlan | BandChoice:
        """How the network gets its input from given bands; `is_applicable` says whether it does.

        Raises:
            InputError: If a given band is there twice.
        """
        if self.takes_any_known:
            return BandChoice.match(self.bands, given)
        return BandPlan.match(self.bands, given)


def _check_widths(
    name: str, widths: Sequence[int], published: Sequence[int], architecture: str
) -> None:
    if not widths:
        return
    if len(widths) != len(published):
        raise InputError(
            f"{name} holds {len(widths)} numbers, and a {architecture} has {len(published)} of them"
        )
    for number, (width, most) in enumerate(zip(widths, published, strict=True)):
        if not 1 <= width <= most:
            raise InputError(
                f"{name} {width} (number {number}) is not between 1 and {most}, as published for "
                f"a {architecture}"
            )
