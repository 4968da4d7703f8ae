import os
import signal

from federation.deployment.processes import (
    lives,
    wait_until,
)


def test_nothing_of_a_tree_outlives_it(make_daemon):
    daemon = make_daemon()
    members = daemon.members()
    assert len(members) == 3
    assert daemon.state == "running"
    daemon.kill()
    assert not any(lives(member) for member in members)
    assert daemon.members() == []
    assert daemon.state == "killed by SIGKILL"


def test_asked_to_end_before_it_is_killed(make_daemon):
    daemon = make_daemon()
    members = daemon.members()
    daemon.stop()
    assert daemon.state == "killed by SIGTERM"
    assert not any(lives(member) for member in members)


def test_killed_if_it_does_not_end(make_daemon):
    daemon = make_daemon("stubborn")
    daemon.stop(patience=0.5)
    assert daemon.state == "killed by SIGKILL"
    assert daemon.members() == []


def test_orphans_are_found_by_their_session(make_daemon):
    daemon = make_daemon("deserter")
    assert wait_until(lambda: not daemon.alive, 20)
    assert daemon.state == "ended with code 0"
    orphans = daemon.members()
    assert len(orphans) >= 1
    daemon.kill()
    assert not any(lives(orphan) for orphan in orphans)


def test_started_again_with_a_log_that_goes_on(make_daemon):
    daemon = make_daemon()
    daemon.start()  # runs: nothing happens
    first = daemon.process.pid
    daemon.kill()
    daemon.start()
    assert wait_until(lambda: "ready" in daemon.said(), 20)
    assert daemon.process.pid != first
    assert daemon.log.read_text().count("ready") == 2
    assert daemon.said().count("ready") == 1


def test_ctrl_c_in_a_terminal_does_not_reach_it(make_daemon):
    daemon = make_daemon()
    assert os.getpgid(daemon.process.pid) != os.getpgid(0)
    daemon.send(signal.SIGINT)
    assert wait_until(lambda: not daemon.alive, 20)
