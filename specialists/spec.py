"""What a specialist is, as plain data: enough to rebuild its network, nothing that runs code."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sensors.errors import InputError
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
HIDDEN_FACTOR = 4
"""How many times wider than its stage the hidden layer of a block is, as published."""


@dataclass(frozen=True, kw_only=True)
class SpecialistSpec(TaskSpec):
    """Everything that `build_specialist` needs: the task and, beside it, the backbone.

    Args:
        architecture: One of `ARCHITECTURES`, timm's names.
        stem_stride: 4 as published, or 2 for small chips (about four times the multiply-adds).
        drop_path_rate: Stochastic depth of the backbone, only in training.
        stage_widths: Channels of each stage of a slimmed backbone; none for those published.
        hidden_widths: Channels of the hidden layer of each block of a slimmed backbone, from the
            first to the last; none for `HIDDEN_FACTOR` times those published for its stage.

    Raises:
        InputError: If a value is not one of those named above, or the task is refused.
    """

    architecture: str = "convnextv2_atto"
    stem_stride: int = 4
    drop_path_rate: float = 0.0
    stage_widths: tuple[int, ...] = ()
    hidden_widths: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("stage_widths", "hidden_widths"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        check_choice("architecture", self.architecture, ARCHITECTURES)
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
        """Plain JSON form, as of any task; widths are there only if they are not those published.

        So a specialist that was not slimmed has the file and the card that it always had.
        """
        record = super().to_dict()
        return {
            name: value for name, value in record.items() if value or not name.endswith("_widths")
        }


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
