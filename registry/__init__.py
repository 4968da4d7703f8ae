"""Frozen models with their cards: added once, found by name, verified on reading."""

from registry.card import SpecialistCard
from registry.model_card import ModelCard
from registry.names import Reference
from registry.prototype import Prototype
from registry.registry import Registry

__all__ = ["ModelCard", "Prototype", "Reference", "Registry", "SpecialistCard"]
