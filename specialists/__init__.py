"""Small ConvNeXtV2 networks that know their bands: build, train, freeze, save, load."""

from specialists.cost import count_macs, count_parameters
from specialists.files import load_specialist, read_spec, save_weights
from specialists.model import Specialist, build_specialist
from specialists.pretrained import load_backbone
from specialists.spec import SpecialistSpec

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
