import subprocess

import pytest

from federation.deployment.flower import COMPLETED
from federation.deployment.loopback import Federation
from federation.deployment.namespaces import Network
from sensors import InputError


@pytest.fixture
def network():
    try:
        made = Network()
    except InputError as error:
        pytest.skip(str(error))
    yield made
    made.close()


def _ip(*arguments):
    return subprocess.run(["ip", *arguments], capture_output=True, text=True).stdout


def test_namespaces_see_the_bridge_and_nothing_else(network):
    inside = network.add("node-0")
    assert inside[:3] == ["ip", "netns", "exec"]
    reach = [*inside, "ip", "route", "get"]
    assert subprocess.run([*reach, network.address], capture_output=True).returncode == 0
    assert subprocess.run([*reach, "1.1.1.1"], capture_output=True).returncode != 0
    assert inside[3] in _ip("netns", "list")
    network.close()
    assert inside[3] not in _ip("netns", "list")
    assert network.bridge not in _ip("link")


def test_two_networks_are_apart(network):
    other = Network()
    try:
        assert other.bridge != network.bridge
        assert not other.subnet.overlaps(network.subnet)
    finally:
        other.close()


def test_where_it_cannot_be_done(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))  # no `ip` here
    with pytest.raises(InputError, match=r"cannot be used here.*leave out --netns"):
        Network()


@pytest.mark.slow
@pytest.mark.alone
def test_a_run_over_namespaces(network, app, data, rounds_of, tmp_path):
    with Federation(tmp_path / "out", data[4:6], netns=True) as federation:
        names = federation.network.namespaces
        for number in range(2):
            pid = str(federation.daemons[f"node-{number}"].process.pid)
            assert _ip("netns", "identify", pid).strip() == names[number]
        run = federation.submit(app, {"result": str(tmp_path / "array")})
        assert federation.wait(run, 120) == COMPLETED
        assert rounds_of(data[4], run) == rounds_of(data[5], run) == [1]
    assert not set(names) & set(_ip("netns", "list").split())
