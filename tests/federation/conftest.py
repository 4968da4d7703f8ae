"""Small simulated scenes, and runs over them in this process."""

import logging

import pytest

from federation.in_process import InProcessGrid, divided_nodes
from federation.server import run_server
from federation.settings import Settings
from rasters.simulate import simulate_scene, write_scene

SMALL = "data.tile=16 specialist.decoder=linear trainer.batch_size=8"


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """What nodes keep for the next round does not go into the user's cache."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder


@pytest.fixture(scope="session")
def scenes(tmp_path_factory):
    """Folder of data sets with the experiment `simulated`: five scenes to learn from, one test."""
    root = tmp_path_factory.mktemp("scenes")
    for split, seeds in {"train": range(5), "test": [100]}.items():
        for seed in seeds:
            folder = root / "simulated" / split / f"scene-{seed}"
            write_scene(folder, simulate_scene(seed, size=64))
    return root


@pytest.fixture
def make_settings(scenes, tmp_path):
    def make(**changes):
        given = {
            "overrides": SMALL,
            "data_root": str(scenes),
            "run_dir": str(tmp_path / "run"),
            "registry": str(tmp_path / "registry"),
            "rounds": 2,
            "partition": "iid",
        }
        return Settings(**(given | changes))

    return make


@pytest.fixture
def flower_log(caplog):
    """What Flower's logger says."""
    logger = logging.getLogger("flwr")
    logger.addHandler(caplog.handler)
    yield caplog
    logger.removeHandler(caplog.handler)


@pytest.fixture
def run():
    """Run a federation of simulated nodes; gives its state and its grid."""

    def run(settings, nodes=2, **options):
        configs = divided_nodes(nodes) if isinstance(nodes, int) else nodes
        grid = InProcessGrid(configs, settings.to_run_config(), **options)
        return run_server(grid, settings), grid

    return run
