"""Small ConvNeXtV2 networks that know their bands: build, train, freeze, save, load."""

from importlib import import_module
from typing import TYPE_CHECKING

from specialists.spec import SpecialistSpec

if TYPE_CHECKING:
    from specialists.cost import count_macs, count_parameters
    from specialists.files import load_specialist, read_spec, save_weights
    from specialists.model import Specialist, build_specialist
    from specialists.pretrained import load_backbone

__all__ = [
    "Specialist",
    "SpecialistSpec",
    "build_specialist",
    "count_macs",
    "count_parameters",
    "load_backbone",
    "load_specialist",
    "read_spec",
    "save_weights",
]

# Importing torch and timm takes seconds, which a command that only reads specs should not spend.
_HOMES = {
    "Specialist": "model",
    "build_specialist": "model",
    "count_macs": "cost",
    "count_parameters": "cost",
    "load_backbone": "pretrained",
    "load_specialist": "files",
    "read_spec": "files",
    "save_weights": "files",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
