import json
import signal
import subprocess
import sys
import time

import pytest

from federation.deployment.cli import main, parse_arguments
from federation.deployment.processes import lives, wait_until
from federation.deployment.records import recorded


@pytest.fixture
def command(monkeypatch, capsys):
    """Runs the command in this process; exit code, output and errors."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["federation-loopback", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as stopped:
            code = stopped.code
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def start(tmp_path, data):
    """Starts the command for one node as a process of its own, and waits until it is up."""
    begun = []

    def run():
        out, log = tmp_path / "out", tmp_path / "log"
        code = "from federation.deployment.cli import main; main()"
        words = ["start", "--out", out, "--data", data[0], "--node-config", "sensor=landsat-8"]
        with log.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, "-c", code, *words], stdout=file, stderr=subprocess.STDOUT
            )
        begun.append(process)
        assert wait_until(lambda: "Ctrl-C ends" in log.read_text(), 90), log.read_text()
        return process, out, log

    yield run
    for process in begun:
        process.kill()
        process.wait()


def test_keys(command, tmp_path):
    out = tmp_path / "keys"
    code, said, _ = command("keys", "--out", out, "--nodes", 2, "--host", "fed.example.org")
    assert code == 0
    assert "ca.pem" in said
    names = {"ca.key", "ca.pem", "server.key", "server.pem"}
    names |= {f"node-{number}.{kind}" for number in range(2) for kind in ("key", "pub")}
    assert {path.name for path in out.iterdir()} == names

    code, _, errors = command("keys", "--out", out)
    assert code == 2
    assert "--overwrite" in errors
    assert command("keys", "--out", out, "--overwrite")[0] == 0


def test_node_key_needs_no_authority(command, tmp_path):
    out = tmp_path / "elsewhere"
    code, said, _ = command("node-key", "node-7", "--out", out)
    assert code == 0
    assert {path.name for path in out.iterdir()} == {"node-7.key", "node-7.pub"}
    assert "node-7.pub" in said
    assert command("node-key", "node-7", "--out", out)[0] == 2


def test_node_config_has_types(tmp_path):
    words = ["a=1", "b=0.5", "c=true", "d=x=y z", "e=01.5x"]
    settings = [word for text in words for word in ("--node-config", text)]
    options = parse_arguments(["start", "--out", "o", "--data", "d", *settings])
    assert dict(options.node_config) == {"a": 1, "b": 0.5, "c": True, "d": "x=y z", "e": "01.5x"}
    with pytest.raises(SystemExit):
        parse_arguments(["start", "--out", "o", "--data", "d", "--node-config", "novalue"])


def test_a_data_folder_that_is_not_there(command, tmp_path):
    missing = tmp_path / "missing"
    code, _, errors = command("start", "--out", tmp_path / "out", "--data", missing)
    assert code == 2
    assert str(missing) in errors
    assert not (tmp_path / "out").exists()


def test_nothing_to_stop(command, tmp_path):
    code, _, errors = command("stop", "--out", tmp_path)
    assert code == 2
    assert "--out" in errors


@pytest.mark.slow
@pytest.mark.alone
def test_ended_by_a_signal_it_leaves_nothing(start):
    process, out, log = start()
    said = log.read_text()
    assert f"FLWR_HOME={out / 'flwr'} flwr run . loopback --stream" in said
    members = recorded(out / "pids.json")
    assert set(members) == {"superlink", "node-0"}
    ids = [each.pid for found in members.values() for each in found]
    assert len(ids) >= 3
    process.send_signal(signal.SIGTERM)
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)  # impatience changes nothing
    assert process.wait(60) == 0
    assert "all processes have ended" in log.read_text()
    assert recorded(out / "pids.json") == {}
    assert not any(lives(each) for each in members["node-0"])


@pytest.mark.slow
@pytest.mark.alone
def test_killed_it_is_cleaned_up_by_stop(start, command, data):
    process, out, _ = start()
    first = json.loads((out / "nodes" / "ids.json").read_text())
    process.kill()
    process.wait()
    assert set(recorded(out / "pids.json")) == {"superlink", "node-0"}
    code, _, errors = command("start", "--out", out, "--data", data[0])
    assert code == 2
    assert "federation-loopback stop" in errors

    code, said, _ = command("stop", "--out", out)
    assert code == 0
    assert "superlink, node-0 ran" in said
    assert recorded(out / "pids.json") == {}
    assert json.loads((out / "nodes" / "ids.json").read_text()) == first
