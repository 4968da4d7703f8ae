"""`federation-loopback`: keys and certificates, and a federation of real processes."""

import argparse
import shlex
import signal
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from federation.deployment.flower import CONNECTION, Scalar
from federation.deployment.keys import DAYS, Keys, make_keys, make_node_key
from federation.deployment.loopback import Federation, name_of
from federation.deployment.namespaces import remove
from federation.deployment.records import kill_recorded, recorded, recorded_network
from sensors.errors import InputError, exit_on_input_error

# A SIGTERM, and a terminal that goes away, take the same way out as Ctrl-C.
_ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_WATCH = 2.0  # seconds between two looks at the processes
console = Console(markup=False, highlight=False, soft_wrap=True)


@exit_on_input_error
def main() -> None:
    """Run the command; bad input leaves with exit code 2."""
    options = parse_arguments()
    options.run(options)


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line (`sys.argv` by default)."""
    parser = argparse.ArgumentParser(
        prog="federation-loopback",
        description="Run a Flower federation of real processes on this machine, with TLS and "
        "SuperNode authentication, or make the keys for one.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    command = commands.add_parser("keys", help="make certificates, and one key pair per node")
    command.set_defaults(run=_keys)
    command.add_argument("--out", type=Path, required=True, metavar="DIR", help="where they go")
    command.add_argument("--nodes", type=int, default=3, help="how many (default: %(default)s)")
    _add_hosts(command)
    command.add_argument(
        "--days", type=int, default=DAYS, help="how long certificates last (default: %(default)s)"
    )
    command.add_argument("--overwrite", action="store_true", help="replace files that are there")

    command = commands.add_parser("node-key", help="make the key pair of one more node")
    command.set_defaults(run=_node_key)
    command.add_argument("node", metavar="NAME", help="such as node-3")
    command.add_argument("--out", type=Path, required=True, metavar="DIR", help="where it goes")
    command.add_argument("--overwrite", action="store_true", help="replace one that is there")

    command = commands.add_parser("start", help="start a SuperLink and SuperNodes, and stay")
    command.set_defaults(run=_start)
    command.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="for keys, logs, state; used again"
    )
    command.add_argument(
        "--data",
        type=Path,
        required=True,
        action="append",
        metavar="DIR",
        help="a node's own data; once per node",
    )
    command.add_argument(
        "--node-config",
        type=_setting,
        default=[],
        action="append",
        metavar="KEY=VALUE",
        help="what every node's node-config holds beside data-root",
    )
    command.add_argument("--port", type=int, help="of the SuperLink (default: a free one)")
    _add_hosts(command)
    command.add_argument(
        "--netns", action="store_true", help="a network namespace per node (Linux, root)"
    )

    command = commands.add_parser("stop", help="end what a killed `start` has left")
    command.set_defaults(run=_stop)
    command.add_argument("--out", type=Path, required=True, metavar="DIR", help="as for start")
    return parser.parse_args(arguments)


def _add_hosts(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--host",
        dest="hosts",
        default=[],
        action="append",
        help="a further name or address of the SuperLink, beside those of loopback",
    )


def _setting(text: str) -> tuple[str, Scalar]:
    key, equals, value = text.partition("=")
    if not (key and equals):
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE")
    if value in ("true", "false"):
        return key, value == "true"
    for kind in (int, float):
        try:
            return key, kind(value)
        except ValueError:
            continue
    return key, value


def _keys(options: argparse.Namespace) -> None:
    nodes = [name_of(number) for number in range(options.nodes)]
    keys = make_keys(
        options.out, nodes, options.hosts, days=options.days, overwrite=options.overwrite
    )
    console.print(f"{keys.folder}")
    console.print("  ca.pem        to every node and every user")
    console.print("  ca.key        stays here; signs the next server certificate")
    console.print("  server.*      to the SuperLink")
    for node in nodes:
        console.print(f"  {node}.key    to this node alone; {node}.pub is registered")


def _node_key(options: argparse.Namespace) -> None:
    keys = Keys(options.out.expanduser().resolve())
    make_node_key(keys, options.node, overwrite=options.overwrite)
    console.print(f"{keys.private(options.node)}    stays with the node")
    console.print(f"{keys.public(options.node)}    goes to the SuperLink's owner")


def _start(options: argparse.Namespace) -> None:
    federation = Federation(
        options.out,
        options.data,
        node_config=dict(options.node_config),
        hosts=options.hosts,
        port=options.port,
        netns=options.netns,
    )
    for number in _ENDINGS:
        signal.signal(number, _interrupt)
    try:
        console.print("starting ...")
        with federation:
            _explain(federation)
            _watch(federation)
    except KeyboardInterrupt:
        pass
    console.print("all processes have ended")


def _interrupt(number: int, frame: object) -> None:
    for each in _ENDINGS:
        signal.signal(each, signal.SIG_IGN)  # a second one would cut the tidying up short
    raise KeyboardInterrupt


def _explain(federation: Federation) -> None:
    _print_states(federation)
    home = f"FLWR_HOME={shlex.quote(str(federation.user.home))}"
    console.print(f"\nThe SuperLink answers at {federation.address}. From an app's folder:\n")
    console.print(f"  {home} flwr run . {CONNECTION} --stream")
    console.print(f"  {home} flwr list {CONNECTION}")
    console.print(f"  {home} flwr supernode list {CONNECTION}")
    number = len(federation.nodes)
    name, keys = name_of(number), federation.keys
    console.print("\nOne more node:\n")
    console.print(f"  federation-loopback node-key {name} --out {keys.folder}")
    public, private = keys.public(name), keys.private(name)
    console.print(f"  {home} flwr supernode register {public} {CONNECTION} --name {name}")
    console.print(
        f"  flower-supernode --superlink {federation.address} "
        f"--root-certificates {keys.root_certificate} "
        f"--auth-supernode-private-key {private} --port 9094 "
        f"--node-config 'data-root=\"/its/data\"'"
    )
    console.print(f"\nLogs: {federation.out / 'logs'}; Ctrl-C ends everything.\n")


def _print_states(federation: Federation) -> None:
    for name, daemon in federation.daemons.items():
        pid = daemon.process.pid if daemon.process else "-"
        console.print(f"{name:<10} {daemon.state:<20} pid {pid:<8} {daemon.log}")


def _watch(federation: Federation) -> None:
    states: dict[str, str] = {}
    while True:
        now = {name: daemon.state for name, daemon in federation.daemons.items()}
        for name in now:
            if states and states[name] != now[name]:
                clock = time.strftime("%H:%M:%S")
                console.print(f"{clock} {name} {now[name]}: see {federation.daemons[name].log}")
        states = now
        if not federation.daemons["superlink"].alive:
            raise InputError("the SuperLink has ended, and the nodes with it; start again to go on")
        federation.record()
        time.sleep(_WATCH)


def _stop(options: argparse.Namespace) -> None:
    path = options.out.expanduser().resolve() / "pids.json"
    if not path.is_file():
        raise InputError(f"{path} is not there: --out is the folder given to `start`")
    names = ", ".join(recorded(path)) or "nothing"
    console.print(f"{names} ran; {kill_recorded(path)} processes ended")
    remove(recorded_network(path))
