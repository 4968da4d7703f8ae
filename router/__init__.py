"""One network that looks at any image: the trunk."""

from router.adapted import AdaptedTrunk, load_adapted, save_adapted
from router.find import find_trunk, find_trunk_spec
from router.published_weights import load_published
from router.trunk import Trunk, build_trunk
from router.trunk_spec import TRUNKS, TrunkSpec
from router.trunk_weights import load_trunk, read_trunk_spec, save_trunk

__all__ = [
    "TRUNKS",
    "AdaptedTrunk",
    "Trunk",
    "TrunkSpec",
    "build_trunk",
    "find_trunk",
    "find_trunk_spec",
    "load_adapted",
    "load_published",
    "load_trunk",
    "read_trunk_spec",
    "save_adapted",
    "save_trunk",
]
