"""One network that looks at any image, the trunk, and ensembles of specialists that it routes."""

from router.adapted import AdaptedTrunk, load_adapted, save_adapted
from router.ensemble import Ensemble
from router.ensemble_files import load_task_ensemble, save_ensemble
from router.ensemble_spec import FUSIONS, GATES, EnsembleSpec
from router.explanation import Explanation
from router.find import find_trunk, find_trunk_spec
from router.published_weights import load_published
from router.task_ensemble import TaskEnsemble
from router.trunk import Trunk, build_trunk
from router.trunk_spec import TRUNKS, TrunkSpec
from router.trunk_weights import load_trunk, read_trunk_spec, save_trunk

__all__ = [
    "FUSIONS",
    "GATES",
    "TRUNKS",
    "AdaptedTrunk",
    "Ensemble",
    "EnsembleSpec",
    "Explanation",
    "TaskEnsemble",
    "Trunk",
    "TrunkSpec",
    "build_trunk",
    "find_trunk",
    "find_trunk_spec",
    "load_adapted",
    "load_published",
    "load_task_ensemble",
    "load_trunk",
    "read_trunk_spec",
    "save_adapted",
    "save_ensemble",
    "save_trunk",
]
