"""A Flower app as small as can be, and a federation that the slow tests share."""

import os
import sys
import textwrap

import pytest

from federation.deployment.loopback import Federation
from federation.deployment.processes import Daemon, wait_until

_PROJECT = """
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"

[project]
name = "tiny"
version = "1.0.0"
license = "Apache-2.0"
dependencies = []

[tool.flwr.app]
publisher = "tests"

[tool.flwr.app.components]
serverapp = "tiny.server:app"
clientapp = "tiny.client:app"

[tool.flwr.app.config]
rounds = 1
seconds = 0.0
timeout = 60.0
result = ""
"""

_SERVER = """
from pathlib import Path

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord
from flwr.serverapp import ServerApp
from flwr.serverapp.strategy import FedAvg

app = ServerApp()


@app.main()
def main(grid, context):
    config = context.run_config
    strategy = FedAvg(fraction_evaluate=0.0, min_train_nodes=1, min_available_nodes=1)
    result = strategy.start(
        grid,
        ArrayRecord([np.zeros(3, np.float32)]),
        num_rounds=config["rounds"],
        timeout=config["timeout"],
        train_config=ConfigRecord({"seconds": config["seconds"]}),
    )
    Path(config["result"]).write_text(str(result.arrays.to_numpy_ndarrays()[0].tolist()))
"""

_CLIENT = """
import time
from pathlib import Path

from flwr.app import ArrayRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

app = ClientApp()


@app.train()
def train(message, context):
    config = message.content["config"]
    root = Path(context.node_config["data-root"])
    mark = root / f"{context.run_id}-round-{config['server-round']}"
    mark.write_text(str(context.node_config))
    time.sleep(config["seconds"])
    arrays = ArrayRecord([array + 1 for array in message.content["arrays"].to_numpy_ndarrays()])
    metrics = MetricRecord({"num-examples": 1})
    return Message(RecordDict({"arrays": arrays, "metrics": metrics}), reply_to=message)
"""

# A command that starts two others, one of them in a session of its own; told to, it ignores
# SIGTERM, and told to, it ends at once and leaves them behind.
_PARENT = """
    import signal, subprocess, sys, time
    # Ignored in what a shell has put into the background, and so in all that comes of it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if "stubborn" in sys.argv:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sleep = [sys.executable, "-c", "import time; time.sleep(300)"]
    subprocess.Popen(sleep)
    subprocess.Popen(sleep, start_new_session=True)
    print("ready", flush=True)
    if "deserter" not in sys.argv:
        time.sleep(300)
"""


@pytest.fixture(scope="session")
def app(tmp_path_factory):
    """The folder of a Flower app whose clients add one to an array of three.

    Each leaves a file in its own data folder when it begins a round; the server writes the last
    array to the file `result`.
    """
    folder = tmp_path_factory.mktemp("app")
    (folder / "tiny").mkdir()
    (folder / "pyproject.toml").write_text(_PROJECT)
    (folder / "tiny" / "__init__.py").write_text("")
    (folder / "tiny" / "server.py").write_text(_SERVER)
    (folder / "tiny" / "client.py").write_text(_CLIENT)
    return folder


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """Data folders of up to six nodes; the first one's name is awkward on a command line."""
    folder = tmp_path_factory.mktemp("data")
    names = ['a "first" one', "b", "c", "d", "e", "f"]
    for name in names:
        (folder / name).mkdir()
    return [folder / name for name in names]


@pytest.fixture(scope="module")
def federation(tmp_path_factory, data):
    """Three nodes, and a SuperLink."""
    out = tmp_path_factory.mktemp("federation")
    with Federation(out, data[:3], node_config={"sensor": "sentinel-2-l2a", "depth": 2}) as made:
        yield made


@pytest.fixture(scope="session")
def rounds_of():
    """The rounds of a run that the node with this data folder has begun."""

    def rounds(folder, run):
        return sorted(int(path.name.split("-")[-1]) for path in folder.glob(f"{run}-round-*"))

    return rounds


@pytest.fixture(scope="session")
def await_round(rounds_of):
    """Waits until a node has begun a round of a run."""

    def wait(folder, run, number, seconds=90):
        assert wait_until(lambda: number in rounds_of(folder, run), seconds)

    return wait


@pytest.fixture
def make_daemon(tmp_path):
    """Starts the command above, and ends whatever a test leaves."""
    made = []

    def start(*arguments):
        command = [sys.executable, "-c", textwrap.dedent(_PARENT), *arguments]
        daemon = Daemon("one", command, dict(os.environ), tmp_path / "home", tmp_path / "one.log")
        made.append(daemon)
        daemon.start()
        assert wait_until(lambda: "ready" in daemon.said(), 20)
        return daemon

    yield start
    for daemon in made:
        daemon.kill()
