"""The registry and the chips of two sensors that ensembles are taught with."""

from tests.router.composing.conftest import make_config, registry, two_sensors

__all__ = ["make_config", "registry", "two_sensors"]
