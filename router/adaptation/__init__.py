"""Teaching a trunk a task: a head alone, a part of the trunk with it, or all of it."""

from router.adaptation.config import AdaptConfig, compose_adapt_config
from router.adaptation.modes import ModeConfig
from router.adaptation.run import adapt_trunk

__all__ = ["AdaptConfig", "ModeConfig", "adapt_trunk", "compose_adapt_config"]
