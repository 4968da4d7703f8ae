"""One network that looks at any image: the trunk."""

from router.trunk import Trunk, build_trunk
from router.trunk_spec import TRUNKS, TrunkSpec

__all__ = ["TRUNKS", "Trunk", "TrunkSpec", "build_trunk"]
