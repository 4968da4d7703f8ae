"""Real processes, shared by the tests of this file, which go through a federation's life in order.

Shared because each start takes some 15 seconds; a test needs no more of those before it than a
federation that runs, and `node-1` is the only node that is killed.
"""

import json
import ssl
import urllib.error
import urllib.request

import psutil
import pytest

from federation.deployment.flower import COMPLETED, environment, program
from federation.deployment.keys import make_keys
from federation.deployment.loopback import Federation, free_port
from federation.deployment.processes import Daemon, lives, wait_until
from federation.deployment.records import recorded
from sensors import InputError

pytestmark = [pytest.mark.slow, pytest.mark.alone]


def test_a_run_on_three_nodes_each_with_its_own_data(federation, app, data, rounds_of, tmp_path):
    run = federation.submit(app, {"rounds": 1, "result": str(tmp_path / "array")})
    assert federation.wait(run, 120) == COMPLETED
    assert json.loads((tmp_path / "array").read_text()) == [1.0, 1.0, 1.0]
    for folder in data[:3]:
        assert rounds_of(folder, run) == [1]
        seen = (folder / f"{run}-round-1").read_text()
        assert repr(str(folder)) in seen
        assert "'sensor': 'sentinel-2-l2a'" in seen
        assert "'depth': 2" in seen
    assert set(federation.user.nodes().values()) == {"online"}


def test_every_process_is_in_the_file(federation):
    federation.record()
    found = recorded(federation.out / "pids.json")
    assert set(found) == {"superlink", "node-0", "node-1", "node-2"}
    for name, members in found.items():
        assert federation.daemons[name].process.pid in {each.pid for each in members}
        assert len(members) >= 2  # the command and its SuperExec


def test_superlink_speaks_tls_only(federation):
    trusted = ssl.create_default_context(cafile=federation.keys.root_certificate)
    direct = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trusted)
    )
    with pytest.raises(urllib.error.HTTPError):  # an answer, if only that there is no such page
        direct.open(f"https://{federation.address}/nothing", timeout=10)
    with pytest.raises(OSError, match=r"(?i)remote end closed|reset"):
        direct.open(f"http://{federation.address}/nothing", timeout=10)


@pytest.mark.parametrize(
    ("authority", "key", "reason"),
    [
        ("own", None, "All SuperNodes must be registered"),
        ("own", "other", "Failed to activate SuperNode"),
        ("other", "own", "CERTIFICATE_VERIFY_FAILED"),
        (None, "own", "CERTIFICATE_VERIFY_FAILED"),
    ],
    ids=["no key", "unregistered key", "wrong root certificate", "no root certificate"],
)
def test_strangers_are_refused(federation, tmp_path, authority, key, reason):
    other = make_keys(tmp_path / "keys", ["node-2"])
    sets = {"own": federation.keys, "other": other}
    port = str(free_port("127.0.0.1"))
    command = [program("flower-supernode"), "--superlink", federation.address, "--port", port]
    if authority:
        command += ["--root-certificates", str(sets[authority].root_certificate)]
    if key:
        command += ["--auth-supernode-private-key", str(sets[key].private("node-2"))]
    before = federation.user.nodes()
    home = tmp_path / "home"
    stranger = Daemon("stranger", command, environment(home), home, tmp_path / "log")
    try:
        stranger.start()
        assert wait_until(lambda: not stranger.alive, 60)
        assert stranger.process.returncode != 0
        assert reason in stranger.said()
        assert "SuperNode ID" not in stranger.said()
    finally:
        stranger.kill()
    assert federation.user.nodes() == before


def test_a_killed_node_misses_its_round_and_a_new_one_joins(
    federation, app, data, rounds_of, await_round, tmp_path
):
    settings = {"rounds": 2, "seconds": 2.0, "timeout": 20.0, "result": str(tmp_path / "array")}
    run = federation.submit(app, settings)
    for folder in data[:3]:
        await_round(folder, run, 1)
    members = federation.daemons["node-1"].members()
    assert len(members) >= 3  # with its ClientApp
    federation.stop_node(1)
    assert not any(lives(member) for member in members)
    assert federation.add_node(data[3]) == 3

    assert federation.wait(run, 150) == COMPLETED
    assert json.loads((tmp_path / "array").read_text()) == [2.0, 2.0, 2.0]
    assert rounds_of(data[0], run) == rounds_of(data[2], run) == [1, 2]
    assert rounds_of(data[1], run) == [1]
    assert rounds_of(data[3], run) == [2]


@pytest.fixture(scope="module")
def lost(federation, app, data, await_round, tmp_path_factory):
    """A run in which the SuperLink was killed and started again; the node's processes then."""
    result = tmp_path_factory.mktemp("lost") / "array"
    run = federation.submit(app, {"rounds": 9, "result": str(result)})
    await_round(data[0], run, 1)
    nodes = {name: federation.daemons[name].process.pid for name in ("node-0", "node-2")}
    federation.kill_superlink()
    assert federation.daemons["superlink"].members() == []
    federation.start_superlink()
    return run, nodes


def test_after_a_restart_nodes_come_back_by_themselves(
    federation, lost, app, data, rounds_of, tmp_path
):
    _, nodes = lost
    run = federation.submit(app, {"result": str(tmp_path / "array")})
    assert federation.wait(run, 120) == COMPLETED
    for number in (0, 2):
        assert rounds_of(data[number], run) == [1]
        assert federation.daemons[f"node-{number}"].process.pid == nodes[f"node-{number}"]


def test_a_killed_node_is_let_in_again(federation, lost, app, data, rounds_of, tmp_path):
    federation.stop_node(1)  # it may be dead already
    federation.start_node(1)
    assert federation.user.nodes()[federation.node_ids["node-1"]] == "online"
    run = federation.submit(app, {"result": str(tmp_path / "array")})
    assert federation.wait(run, 120) == COMPLETED
    assert rounds_of(data[1], run) == [1]


def test_the_run_of_a_killed_superlink_is_lost(federation, lost):
    """Flower 1.41 does not start a ServerApp again: it gives the run up after a minute."""
    run, _ = lost
    assert federation.wait(run, 120) == "finished:failed"


def test_one_task_can_be_killed_alone(federation, app, data, await_round, tmp_path):
    with pytest.raises(InputError, match="superlink runs no flwr-serverapp"):
        federation.kill_server_app()
    with pytest.raises(InputError, match="node-2 runs no flwr-clientapp"):
        federation.kill_client_app(2)
    result = tmp_path / "array"
    run = federation.submit(app, {"rounds": 9, "seconds": 60.0, "result": str(result)})
    await_round(data[2], run, 1)
    federation.kill_client_app(2)
    federation.kill_server_app()
    assert federation.daemons["superlink"].alive
    assert federation.daemons["node-2"].alive
    federation.user.stop(run)  # without it, the run is given up after a minute
    assert federation.user.status(run) == "finished:stopped"
    assert not result.exists()


def test_the_folder_is_taken_while_it_runs(federation, data):
    with pytest.raises(InputError, match=r"runs \(superlink, .*federation-loopback stop"):
        Federation(federation.out, data[:1])


def test_nothing_is_left_in_the_end(federation):
    federation.record()
    members = [each for found in recorded(federation.out / "pids.json").values() for each in found]
    assert len(members) >= 10  # five commands with a SuperExec each
    federation.close()
    assert not any(lives(member) for member in members)
    assert recorded(federation.out / "pids.json") == {}
    ours = str(federation.out)
    assert not [each.pid for each in psutil.process_iter() if ours in _words(each)]


def _words(process):
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""
