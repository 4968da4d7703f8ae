"""Processes that are started, watched, and stopped with everything they started themselves.

A SuperNode starts a SuperExec, which starts one process per task; a SuperLink does the same in a
session of its own. When one of them dies, those below it must not go on, whoever their parent is by
then. So members are found by parentage and by session, and are halted before they are killed: a
halted process cannot start another one in the meantime.
"""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

PATIENCE = 8.0  # seconds that a process gets to end by itself before it is killed


class Daemon:
    """One command that runs in the background, and what it starts.

    Args:
        name: What it is called in logs and lists.
        command: Program and arguments.
        environment: All of its environment.
        folder: Its working directory; made if it is not there.
        log: File to which its output is appended, and that of what it starts.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        folder: Path,
        log: Path,
    ) -> None:
        self.name = name
        self.command = list(command)
        self.environment = dict(environment)
        self.folder = folder
        self.log = log
        self.process: subprocess.Popen[bytes] | None = None
        self._sessions: set[int] = set()
        self._log_start = 0

    def start(self) -> None:
        """Start it; one that runs is left alone."""
        if self.alive:
            return
        self.kill()  # what an earlier start may have left
        self.folder.mkdir(parents=True, exist_ok=True)
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._log_start = log.tell()
            self.process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self.environment,
                cwd=self.folder,
                start_new_session=True,  # Ctrl-C reaches whoever started us, not the daemon
            )
        self._sessions = {self.process.pid}

    @property
    def alive(self) -> bool:
        """Whether the command itself runs."""
        return self.process is not None and self.process.poll() is None

    @property
    def state(self) -> str:
        """`running`, `not started`, or how it ended."""
        if self.process is None:
            return "not started"
        code = self.process.poll()
        if code is None:
            return "running"
        return f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"

    def said(self) -> str:
        """What it has put in its log since it was started."""
        with self.log.open("rb") as log:
            log.seek(self._log_start)
            return log.read().decode(errors="replace")

    def members(self) -> list[psutil.Process]:
        """Every living process of it: the command, its descendants, and orphans of these."""
        if self.process is None:
            return []
        found: dict[int, psutil.Process] = {}
        everyone = [(process, *_kinship(process)) for process in psutil.process_iter()]
        grown = True
        while grown:
            grown = False
            for process, parent, session in everyone:
                if process.pid in found or not (parent in found or session in self._sessions):
                    continue
                found[process.pid] = process
                self._sessions.add(session)
                grown = True
        return list(found.values())

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the command itself."""
        if self.process is not None and self.alive:
            self.process.send_signal(number)

    def wait(self, seconds: float) -> bool:
        """Wait for the command to end; whether it has."""
        try:
            if self.process is not None:
                self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def stop(self, patience: float = PATIENCE) -> None:
        """Ask it to end, wait, and kill what is left of it."""
        self.members()  # learns their sessions while their parent is there
        self.send(signal.SIGTERM)
        self.wait(patience)
        self.kill()

    def kill(self) -> None:
        """Kill it and everything it started, at once."""
        halted: list[psutil.Process] = []
        while fresh := [process for process in self.members() if process not in halted]:
            for process in fresh:
                send(process, signal.SIGSTOP)
            halted += fresh
        for process in halted:
            send(process, signal.SIGKILL)
        self.wait(PATIENCE)
        wait_until(lambda: not self.members(), PATIENCE)


def wait_until(condition: Callable[[], object], seconds: float, pause: float = 0.1) -> bool:
    """Wait until a function of no arguments returns true; whether it did in time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(pause)
    return True


def lives(process: psutil.Process) -> bool:
    """Whether it runs. A zombie does not: it is dead, and only not yet collected by its parent."""
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def _kinship(process: psutil.Process) -> tuple[int, int]:
    try:
        if lives(process):
            return process.ppid(), os.getsid(process.pid)
    except (psutil.Error, ProcessLookupError):
        pass
    return -1, -1


def send(process: psutil.Process, number: signal.Signals) -> None:
    """Send a signal; to nobody, if the process is gone."""
    with suppress(psutil.Error):
        process.send_signal(number)
