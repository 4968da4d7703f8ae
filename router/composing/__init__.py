"""Teaching an ensemble a task: gate, fusion and head learn, members and trunk stay as they are."""

from router.composing.config import (
    ComposeConfig,
    ComposeTrainerConfig,
    EnsembleConfig,
    compose_ensemble_config,
)
from router.composing.run import compose_ensemble

__all__ = [
    "ComposeConfig",
    "ComposeTrainerConfig",
    "EnsembleConfig",
    "compose_ensemble",
    "compose_ensemble_config",
]
