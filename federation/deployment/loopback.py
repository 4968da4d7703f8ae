"""A federation of real processes on one machine: TLS, SuperNode authentication, own folders.

<out>/keys/            the authority, the SuperLink's certificate, a key pair per node
<out>/flwr/            FLWR_HOME of whoever runs `flwr`, with the connection `loopback`
<out>/homes/<name>/    FLWR_HOME of each process
<out>/logs/<name>.log  what each process said
<out>/nodes/           the node-config of each node
<out>/superlink.db     runs, nodes and messages; a SuperLink that is started again reads it
<out>/pids.json        every process id
"""

import json
import os
import re
import signal
import socket
import ssl
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from federation.deployment import records
from federation.deployment.flower import Flower, Scalar, environment, program, write_toml
from federation.deployment.keys import Keys, make_keys, make_node_key, make_server_certificate
from federation.deployment.keys import serves as certificate_serves
from federation.deployment.namespaces import Network
from federation.deployment.processes import PATIENCE, Daemon, wait_until
from sensors.errors import InputError

LINK = "superlink"
START = 60.0  # seconds that a process gets to come up
# A SuperNode that vanished counts as online until two heartbeats of 30 s are missing, and its key
# is not let in a second time before that.
READMISSION = 75.0
_REFUSED = "[code: 2004]"


class Federation:
    """A SuperLink and its SuperNodes; a context manager that leaves no process behind.

    Args:
        out: The folder for everything. What it holds from an earlier start is used again: keys,
            nodes' identities, runs.
        data: One folder per node, which it finds in its node-config as `data-root`.
        node_config: What every node finds there beside it, and its number as `partition-id`.
        hosts: Further names and addresses in the SuperLink's certificate.
        port: Where the SuperLink listens (default: a free port).
        netns: Whether every node gets a network namespace of its own (Linux, root).
        in_memory: Whether the SuperLink keeps its state in memory, as Flower does by default: a
            busy disk does not hold it up, and what it knows is lost with it.

    Raises:
        InputError: If a data folder is not there, or the folder is in use by living processes.
    """

    def __init__(
        self,
        out: str | Path,
        data: Sequence[str | Path],
        *,
        node_config: Mapping[str, Scalar] | None = None,
        hosts: Iterable[str] = (),
        port: int | None = None,
        netns: bool = False,
        in_memory: bool = False,
    ) -> None:
        self.out = Path(out).expanduser().resolve()
        self.data = [_folder(path) for path in data]
        self._expected = len(self.data)
        self.node_config = dict(node_config or {})
        self.hosts = list(hosts)
        self.netns = netns
        self.in_memory = in_memory
        self.network: Network | None = None
        self.port = port or 0
        self.keys = Keys(self.out / "keys")
        self.user = Flower(self.out / "flwr")
        self.daemons: dict[str, Daemon] = {}
        self._ids_file = self.out / "nodes" / "ids.json"
        self._check_unused()

    # Life ---------------------------------------------------------------------------------------

    def __enter__(self) -> "Federation":
        try:
            self._prepare()
            self.start_superlink()
            data, self.data = self.data, []
            started = [self._create_node(folder) for folder in data]
            self._admit(started)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop every process, nodes first, and remove the network."""
        nodes = [daemon for name, daemon in self.daemons.items() if name != LINK]
        for daemon in nodes:
            daemon.members()  # learns their sessions while their parent is there
            daemon.send(signal.SIGTERM)
        for daemon in nodes:  # they say farewell at the same time
            daemon.wait(PATIENCE)
            daemon.kill()
        if LINK in self.daemons:
            self.daemons[LINK].stop()
        if self.network is not None:
            self.network.close()
            self.network = None
        if self.daemons:
            self.record()

    def record(self) -> None:
        """Write the ids of all processes that live now to `pids.json`."""
        network = self.network.names if self.network else []
        records.record(self.daemons.values(), self.out / "pids.json", network)

    # The SuperLink ------------------------------------------------------------------------------

    @property
    def host(self) -> str:
        """The address at which the SuperLink listens."""
        return self.network.address if self.network else "127.0.0.1"

    @property
    def address(self) -> str:
        """Host and port of the SuperLink."""
        return f"{self.host}:{self.port}"

    def start_superlink(self) -> None:
        """Start the SuperLink, or start it again with its database, and wait until it answers.

        Raises:
            InputError: If it does not come up.
        """
        daemon = self.daemons[LINK]
        daemon.start()
        if not wait_until(lambda: self._answers() or not daemon.alive, START) or not daemon.alive:
            raise InputError(f"the SuperLink {daemon.state}: see {daemon.log}")
        self.record()

    def kill_superlink(self) -> None:
        """Kill the SuperLink and the ServerApp below it, as if its machine had lost power."""
        self.daemons[LINK].kill()

    def kill_server_app(self) -> None:
        """Kill the process that runs the ServerApp, and nothing else.

        Raises:
            InputError: If there is none.
        """
        self._kill_task(LINK, "flwr-serverapp")

    # The SuperNodes -----------------------------------------------------------------------------

    @property
    def nodes(self) -> list[str]:
        """The names of the nodes: `node-0`, `node-1`, ..."""
        return [name_of(number) for number in range(len(self.data))]

    @property
    def node_ids(self) -> dict[str, str]:
        """Flower's ids of the nodes, by name."""
        if not self._ids_file.is_file():
            return {}
        ids: dict[str, str] = json.loads(self._ids_file.read_text())
        return ids

    def add_node(self, data: str | Path) -> int:
        """Register one more node and start it; its number. A run that is going on may ask it."""
        name = self._create_node(_folder(data))
        self._admit([name])
        return len(self.data) - 1

    def stop_node(self, number: int, sig: signal.Signals = signal.SIGKILL) -> None:
        """Stop a node and what it runs: at once by SIGKILL, after a farewell by SIGTERM."""
        daemon = self.daemons[name_of(number)]
        if sig == signal.SIGKILL:
            daemon.kill()
        else:
            daemon.members()
            daemon.send(sig)
            daemon.wait(PATIENCE)
            daemon.kill()

    def start_node(self, number: int, patience: float = READMISSION) -> None:
        """Start a stopped node again, and wait until the SuperLink lets it in.

        Args:
            number: Which one.
            patience: Seconds to try; a node that was killed is only let in when its heartbeat has
                been missed twice, and its process ends if it is refused.

        Raises:
            InputError: If it is not let in.
        """
        name = name_of(number)
        self.daemons[name].start()
        self._admit([name], patience)

    def kill_client_app(self, number: int) -> None:
        """Kill the process in which a node runs its ClientApp, and nothing else.

        Raises:
            InputError: If there is none.
        """
        self._kill_task(name_of(number), "flwr-clientapp")

    # Runs ---------------------------------------------------------------------------------------

    def submit(self, app: str | Path, config: Mapping[str, Scalar] | None = None) -> str:
        """Hand in a run of a Flower app folder, with other values for its run-config; its id."""
        return self.user.run(Path(app).resolve(), config or {})

    def wait(self, run: str, timeout: float) -> str:
        """Wait for a run to finish; its status.

        Raises:
            InputError: If it has not after that many seconds.
        """
        end = time.monotonic() + timeout
        while not (status := self.user.status(run)).startswith("finished"):
            left = end - time.monotonic()
            if left < 0:
                raise InputError(f"run {run} is {status} after {timeout:g} s: see {self.out}/logs")
            # One question takes seconds of processor time, so a look in the log comes first.
            wait_until(lambda: self._mentions_end(run), min(left, 20))
        return status

    def run(
        self,
        app: str | Path,
        config: Mapping[str, Scalar] | None = None,
        timeout: float = 600,
    ) -> str:
        """Hand in a run and wait for it; its status, of which `finished:completed` is success."""
        return self.wait(self.submit(app, config), timeout)

    def logs(self, name: str) -> str:
        """What a process has said so far: `superlink`, or `node-<i>` with its ClientApp."""
        return self.daemons[name].log.read_text(errors="replace")

    # Within -------------------------------------------------------------------------------------

    def _check_unused(self) -> None:
        living = records.recorded(self.out / "pids.json")
        if living:
            raise InputError(
                f"{self.out} belongs to a federation that runs ({', '.join(living)}): choose "
                f"another folder, or end it by `federation-loopback stop --out {self.out}`"
            )

    def _prepare(self) -> None:
        for folder in (self.out, self.out / "logs", self.out / "nodes"):
            folder.mkdir(parents=True, exist_ok=True)
        if self.netns:
            self.network = Network()
        hosts = [*self.hosts, self.host]
        if not self.keys.root_certificate.exists():
            make_keys(self.keys.folder, [], hosts)
        elif not certificate_serves(self.keys, hosts):
            make_server_certificate(self.keys, hosts)
        self.port = self.port or free_port(self.host)
        self.user.direct = [self.host]
        self.user.connect(self.address, self.keys.root_certificate)
        self.daemons[LINK] = self._daemon(LINK, self._superlink_command())

    def _superlink_command(self) -> list[str]:
        tls = ["--ssl-ca-certfile", str(self.keys.root_certificate)]
        tls += ["--ssl-certfile", str(self.keys.server_certificate)]
        tls += ["--ssl-keyfile", str(self.keys.server_key)]
        where = ["--host", self.host, "--port", str(self.port)]
        state = [] if self.in_memory else ["--database", str(self.out / "superlink.db")]
        options = ["--enable-supernode-auth", "--disable-runtime-dependency-installation"]
        return [program("flower-superlink"), *where, *tls, *state, *options]

    def _create_node(self, data: Path) -> str:
        name = name_of(len(self.data))
        self.data.append(data)
        if not self.keys.private(name).exists():
            make_node_key(self.keys, name)
        ids = self.node_ids
        if name not in ids or ids[name] not in self.user.nodes():
            ids[name] = self.user.register(self.keys.public(name), name)
            self._ids_file.write_text(json.dumps(ids, indent=1))
        # As Flower's simulation numbers its nodes: what is drawn by a node's number comes again.
        facts = {"partition-id": int(name.rpartition("-")[2]), **self.node_config}
        facts["data-root"] = str(data)
        config = write_toml(self.out / "nodes" / f"{name}.toml", facts)
        inside = self.network.add(name) if self.network else []
        self.daemons[name] = self._daemon(name, [*inside, *self._node_command(name, config)])
        self.daemons[name].start()
        self.record()
        return name

    def _node_command(self, name: str, config: Path) -> list[str]:
        link = ["--superlink", self.address]
        link += ["--root-certificates", str(self.keys.root_certificate)]
        link += ["--auth-supernode-private-key", str(self.keys.private(name))]
        own = ["--port", str(free_port("127.0.0.1")), "--node-config", str(config)]
        return [program("flower-supernode"), *link, *own]

    def _daemon(self, name: str, command: list[str]) -> Daemon:
        home = self.out / "homes" / name
        log = self.out / "logs" / f"{name}.log"
        own = environment(home, [self.host])
        # Nodes share the cores; more threads than cores would wait for each other.
        cores = os.cpu_count() or 1
        own.setdefault("OMP_NUM_THREADS", str(max(1, cores // max(1, self._expected))))
        return Daemon(name, command, own, home, log)

    def _admit(self, names: Sequence[str], patience: float = READMISSION) -> None:
        """Wait until the SuperLink has let these nodes in; start those again that come too soon."""
        end = time.monotonic() + patience
        outside = [self.daemons[name] for name in names]
        while outside := [daemon for daemon in outside if not self._greeted(daemon)]:
            for daemon in outside:
                too_soon = not daemon.alive and _REFUSED in daemon.said()
                if time.monotonic() > end or not (daemon.alive or too_soon):
                    raise InputError(f"{daemon.name} was not let in ({daemon.state}): {daemon.log}")
                if too_soon:
                    time.sleep(2)
                    daemon.start()
            time.sleep(0.2)
        self.record()

    def _mentions_end(self, run: str) -> bool:
        return bool(re.search(rf"Finished task \d+ of run {run}\b", self.daemons[LINK].said()))

    def _greeted(self, daemon: Daemon) -> bool:
        # The log says so without the seconds of processor time that one `flwr` call takes.
        return f"SuperNode ID: {self.node_ids[daemon.name]}" in daemon.said()

    def _answers(self) -> bool:
        trusted = ssl.create_default_context(cafile=str(self.keys.root_certificate))
        with (
            suppress(OSError),
            socket.create_connection((self.host, self.port), timeout=2) as plain,
            trusted.wrap_socket(plain, server_hostname=self.host),
        ):
            return True
        return False

    def _kill_task(self, name: str, task: str) -> None:
        members = self.daemons[name].members()
        tasks = [each for each in members if any(task in word for word in each.cmdline())]
        if not tasks:
            raise InputError(f"{name} runs no {task} at this moment")
        for process in tasks:
            process.kill()


def name_of(number: int) -> str:
    """The name of the node with this number, counted from 0."""
    return f"node-{number}"


def _folder(path: str | Path) -> Path:
    folder = Path(path).expanduser().resolve()
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder: give every node the folder of its own data")
    return folder


def free_port(host: str) -> int:
    """A TCP port that nobody listens at now."""
    with socket.socket() as listener:
        listener.bind((host, 0))
        return int(listener.getsockname()[1])
