"""Small ConvNeXtV2 networks that know their bands: build, train, freeze, save, load."""

from specialists.model import Specialist, build_specialist
from specialists.spec import SpecialistSpec

__all__ = ["Specialist", "SpecialistSpec", "build_specialist"]
