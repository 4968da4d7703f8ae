"""Frozen specialists with their cards: added once, found by name, verified on reading."""

from registry.card import SpecialistCard
from registry.names import Reference
from registry.registry import Registry

__all__ = ["Reference", "Registry", "SpecialistCard"]
