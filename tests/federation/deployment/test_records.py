import subprocess
import sys

import psutil

from federation.deployment.processes import wait_until
from federation.deployment.records import kill_recorded, record, recorded


def test_recorded_processes_can_be_killed_by_another_program(make_daemon, tmp_path):
    daemon = make_daemon()
    members = daemon.members()
    path = tmp_path / "pids.json"
    record([daemon], path)
    assert {each.pid for each in recorded(path)["one"]} == {each.pid for each in members}

    code = "import sys, pathlib; from federation.deployment.records import kill_recorded\n"
    code += "print(kill_recorded(pathlib.Path(sys.argv[1])))"
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True)
    assert done.stdout.strip() == "3", done.stderr
    assert wait_until(lambda: not daemon.alive, 5)
    assert daemon.members() == []
    assert recorded(path) == {}


def test_a_number_that_was_used_again_is_left_alone(make_daemon, tmp_path):
    daemon = make_daemon()
    path = tmp_path / "pids.json"
    record([daemon], path)
    started = psutil.Process(daemon.process.pid).create_time()
    path.write_text(path.read_text().replace(str(started), str(started - 1000)))
    assert daemon.process.pid not in {each.pid for each in recorded(path).get("one", [])}
    path.write_text(f'{{"processes": {{"one": [[{daemon.process.pid}, 1.0]]}}, "network": []}}')
    assert kill_recorded(path) == 0
    assert daemon.alive


def test_no_record_no_processes(tmp_path):
    assert recorded(tmp_path / "pids.json") == {}
