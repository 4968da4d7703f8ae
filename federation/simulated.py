"""Where data lie; for the experiment `simulated`, which needs none, scenes are written first."""

import os
import shutil
from pathlib import Path

from filelock import FileLock
from platformdirs import user_cache_path

from federation.settings import NodeSettings, Settings
from rasters.simulate import simulate_scene, write_scene

EXPERIMENT = "simulated"
SCENES = {"train": range(12), "test": range(100, 104)}
"""Seeds of the scenes of each split."""
SIZE = 256


def find_data_root(settings: Settings, node: NodeSettings | None = None) -> str:
    """The folder of data sets of a node, or of the server; "" if there is none.

    That is the node's own, else the run's, else `$TERRAGUILD_DATA`; for simulated scenes it is made
    in the user's cache folder.
    """
    given = (node.data_root if node else "") or settings.data_root
    given = given or os.environ.get("TERRAGUILD_DATA", "")
    if given or settings.experiment != EXPERIMENT:
        return given
    return str(write_scenes(user_cache_path("terraguild")))


def write_scenes(folder: Path) -> Path:
    """Write the simulated scenes, once; gives the folder of data sets that they are in.

    Processes that ask at the same time wait for the first of them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    scenes = folder / EXPERIMENT
    with FileLock(folder / ".simulated.lock"):
        if scenes.exists():
            return folder
        part = folder / ".simulated"
        shutil.rmtree(part, ignore_errors=True)
        for split, seeds in SCENES.items():
            for seed in seeds:
                write_scene(part / split / f"scene-{seed}", simulate_scene(seed, size=SIZE))
        part.rename(scenes)
    return folder
