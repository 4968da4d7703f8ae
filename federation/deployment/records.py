"""The file of process ids: who was started, for another program to look up or to end."""

import json
import signal
from collections.abc import Iterable, Sequence
from pathlib import Path

import psutil

from federation.deployment.processes import PATIENCE, Daemon, lives, send, wait_until


def record(daemons: Iterable[Daemon], path: Path, network: Sequence[str] = ()) -> None:
    """Write every process id to a file, with its start time, so that a number used again is told.

    Args:
        daemons: What was started.
        path: The JSON file to replace.
        network: Names of network namespaces and bridges to be removed with them.
    """
    processes = {daemon.name: [_identity(each) for each in daemon.members()] for daemon in daemons}
    fresh = path.with_name(path.name + ".new")
    fresh.write_text(json.dumps({"processes": processes, "network": list(network)}, indent=1))
    fresh.replace(path)


def recorded(path: Path) -> dict[str, list[psutil.Process]]:
    """The processes of such a file that still run, by name."""
    if not path.is_file():
        return {}
    content = json.loads(path.read_text())["processes"]
    living = {name: [_find(*entry) for entry in entries] for name, entries in content.items()}
    kept = {name: [each for each in found if each] for name, found in living.items()}
    return {name: found for name, found in kept.items() if found}


def kill_recorded(path: Path) -> int:
    """Kill the processes of such a file that still run, and what they started; how many."""
    doomed = [process for found in recorded(path).values() for process in found]
    for process in doomed:  # grows while it is gone through
        send(process, signal.SIGSTOP)
        doomed += [child for child in _children(process) if child not in doomed]
    for process in doomed:
        send(process, signal.SIGKILL)
    wait_until(lambda: not any(lives(process) for process in doomed), PATIENCE)
    return len(doomed)


def recorded_network(path: Path) -> list[str]:
    """The namespaces and bridges of such a file."""
    return [str(name) for name in json.loads(path.read_text())["network"]]


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return list(process.children())
    except psutil.Error:
        return []


def _identity(process: psutil.Process) -> tuple[int, float]:
    return process.pid, process.create_time()


def _find(pid: int, started: float) -> psutil.Process | None:
    try:
        process = psutil.Process(pid)
        # The start time is kept to a hundredth of a second, and moves a little with the clock.
        same = abs(process.create_time() - started) < 1
    except psutil.Error:
        return None
    return process if same and lives(process) else None
