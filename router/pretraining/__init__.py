"""How a trunk learns to see: masked modelling of any bands, and distillation."""

from router.pretraining.distillation import Teacher
from router.pretraining.losses import Reconstruction, patchify, unpatchify
from router.pretraining.picture import draw_reconstructions
from router.pretraining.recipe import (
    DecoderConfig,
    DistillationConfig,
    MaskingConfig,
    TrunkRecipe,
)
from router.pretraining.task import PretrainTask

__all__ = [
    "DecoderConfig",
    "DistillationConfig",
    "MaskingConfig",
    "PretrainTask",
    "Reconstruction",
    "Teacher",
    "TrunkRecipe",
    "draw_reconstructions",
    "patchify",
    "unpatchify",
]
