"""The `flwr` command of one user, asked for JSON, and the environment of every Flower process."""

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from sensors.errors import InputError

CONNECTION = "loopback"
COMPLETED = "finished:completed"
Scalar = str | int | float | bool
_BINARIES = Path(sys.executable).parent
_QUIET = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    # Else every run installs the app's dependencies anew, torch among them.
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
    "PYTHONUNBUFFERED": "1",
}


def environment(home: Path, direct: Iterable[str] = ()) -> dict[str, str]:
    """This process's environment with a Flower home of its own.

    Args:
        home: The `FLWR_HOME`.
        direct: Hosts that are not asked for through a proxy.
    """
    # Flower finds its own programs by their names.
    path = os.pathsep.join([str(_BINARIES), os.environ.get("PATH", os.defpath)])
    hosts = ",".join(filter(None, [*direct, os.environ.get("NO_PROXY", "")]))
    own = {"FLWR_HOME": str(home), "PATH": path, "NO_PROXY": hosts, "no_proxy": hosts}
    return {**os.environ, **_QUIET, **own}


def program(name: str) -> str:
    """The path of one of Flower's programs, of the same installation as this Python.

    Raises:
        InputError: If Flower is not installed.
    """
    path = _BINARIES / name
    if not path.is_file():
        raise InputError(f"there is no {name} beside {sys.executable}: pip install flwr")
    return str(path)


def write_toml(path: Path, values: Mapping[str, Scalar]) -> Path:
    """Write flat values as TOML: unlike in an argument, they may hold spaces and quotes."""
    lines = [f"{json.dumps(k)} = {json.dumps(v, ensure_ascii=False)}\n" for k, v in values.items()]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(lines), encoding="utf-8")
    return path


class Flower:
    """One user's `flwr`, with the connection `loopback` in a `FLWR_HOME` of its own.

    Args:
        home: The folder, which `connect` fills.
        direct: As in `environment`.
    """

    def __init__(self, home: Path, direct: Iterable[str] = ()) -> None:
        self.home = home
        self.direct = list(direct)

    def connect(self, address: str, root_certificate: Path) -> None:
        """Write where the SuperLink is, and by what it is verified."""
        self.home.mkdir(parents=True, exist_ok=True)
        facts = {"address": address, "root-certificates": str(root_certificate)}
        lines = "".join(f"{key} = {json.dumps(value)}\n" for key, value in facts.items())
        (self.home / "config.toml").write_text(
            f'[superlink]\ndefault = "{CONNECTION}"\n\n[superlink.{CONNECTION}]\n{lines}'
        )

    def ask(self, *arguments: str, timeout: float = 60) -> dict[str, Any]:
        """Run `flwr ... --format json` and return its answer.

        Raises:
            InputError: If it was refused; with Flower's own message.
        """
        command = [program("flwr"), *arguments, "--format", "json"]
        try:
            done = subprocess.run(
                command,
                env=environment(self.home, self.direct),
                cwd=self.home,
                capture_output=True,
                text=True,
                timeout=timeout,
            )
        except subprocess.TimeoutExpired as error:
            raise InputError(f"flwr {arguments[0]} had no answer in {timeout:g} s") from error
        try:
            answer: dict[str, Any] = json.loads(done.stdout)
        except json.JSONDecodeError:
            answer = {"success": False, "error-message": done.stdout + done.stderr}
        if not answer.get("success"):
            reason = str(answer.get("error-message", answer)).strip()
            raise InputError(f"flwr {' '.join(arguments)} failed: {reason}")
        return answer

    def register(self, public_key: Path, name: str) -> str:
        """Let the owner of a key in; the node's id."""
        arguments = ("supernode", "register", str(public_key), CONNECTION, "--name", name)
        return str(self.ask(*arguments)["node-id"])

    def nodes(self) -> dict[str, str]:
        """The status of every registered node, by its id: `online`, `offline` or `registered`."""
        found = self.ask("supernode", "list", CONNECTION)["nodes"]
        return {str(node["node-id"]): str(node["status"]) for node in found}

    def run(self, app: Path, config: Mapping[str, Scalar]) -> str:
        """Hand a run in; its id. It has only begun then."""
        arguments = ["run", str(app), CONNECTION]
        if config:
            arguments += ["--run-config", str(write_toml(self.home / "run-config.toml", config))]
        return str(self.ask(*arguments)["run-id"])

    def status(self, run: str) -> str:
        """The status of a run; `finished:completed` is the only success."""
        return str(self.ask("list", CONNECTION, "--run-id", run)["runs"][0]["status"])

    def stop(self, run: str) -> None:
        """Stop a run."""
        self.ask("stop", run, CONNECTION)
