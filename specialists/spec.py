"""What a specialist is, as plain data: enough to rebuild its network, nothing that runs code."""

from dataclasses import dataclass

from specialists.task_spec import TaskSpec, check_choice, check_rate

ARCHITECTURES = (
    "convnextv2_atto",
    "convnextv2_femto",
    "convnextv2_pico",
    "convnextv2_nano",
    "convnextv2_tiny",
)


@dataclass(frozen=True, kw_only=True)
class SpecialistSpec(TaskSpec):
    """Everything that `build_specialist` needs: the task and, beside it, the backbone.

    Args:
        architecture: One of `ARCHITECTURES`, timm's names.
        stem_stride: 4 as published, or 2 for small chips (about four times the multiply-adds).
        drop_path_rate: Stochastic depth of the backbone, only in training.

    Raises:
        InputError: If a value is not one of those named above, or the task is refused.
    """

    architecture: str = "convnextv2_atto"
    stem_stride: int = 4
    drop_path_rate: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("architecture", self.architecture, ARCHITECTURES)
        check_choice("stem_stride", self.stem_stride, (4, 2))
        check_rate("drop_path_rate", self.drop_path_rate)
