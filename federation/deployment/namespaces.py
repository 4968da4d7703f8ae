"""A network namespace per SuperNode, as if each were a machine of its own.

A bridge stands for the network between them: the SuperLink listens at its address, and every
namespace has one end of a cable (a veth pair) in it. Nothing outside the machine is reached.
"""

import ipaddress
import socket
import subprocess

import psutil

from sensors.errors import InputError

_NETWORKS = [ipaddress.IPv4Network(f"10.213.{number}.0/24") for number in range(1, 255)]


class Network:
    """A bridge with an address, and namespaces on it. Needs root and Linux's `ip`.

    Raises:
        InputError: If this machine does not let it be made.
    """

    def __init__(self) -> None:
        self.subnet = _free_network()
        self.bridge = f"tg{str(self.subnet).split('.')[2]}"
        self.namespaces: list[str] = []
        _ip("link", "add", self.bridge, "type", "bridge")
        try:
            _ip("address", "add", f"{self.address}/24", "dev", self.bridge)
            _ip("link", "set", self.bridge, "up")
        except InputError:
            self.close()
            raise

    @property
    def address(self) -> str:
        """Where the SuperLink listens."""
        return str(self.subnet[1])

    @property
    def names(self) -> list[str]:
        """What has to be removed, as `remove` takes it."""
        return [*(f"netns {name}" for name in self.namespaces), f"link {self.bridge}"]

    def add(self, node: str) -> list[str]:
        """Make a namespace for a node; the words to put before a command that shall run in it."""
        number = len(self.namespaces)
        namespace, cable = f"{self.bridge}-{node}", f"{self.bridge}v{number}"
        _ip("netns", "add", namespace)
        self.namespaces.append(namespace)
        _ip("link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", namespace)
        _ip("link", "set", cable, "master", self.bridge, "up")
        address = f"{self.subnet[number + 2]}/24"
        _ip("-n", namespace, "address", "add", address, "dev", "eth0")
        _ip("-n", namespace, "link", "set", "eth0", "up")
        _ip("-n", namespace, "link", "set", "lo", "up")
        return ["ip", "netns", "exec", namespace]

    def close(self) -> None:
        """Remove all of it."""
        remove(self.names)
        self.namespaces.clear()


def remove(names: list[str]) -> None:
    """Remove namespaces and links; what is gone already is no error."""
    for name in names:
        kind, name = name.split(" ")
        subprocess.run(["ip", kind, "delete", name], capture_output=True)


def _free_network() -> ipaddress.IPv4Network:
    taken = [
        ipaddress.ip_address(address.address)
        for addresses in psutil.net_if_addrs().values()
        for address in addresses
        if address.family == socket.AF_INET
    ]
    free = (net for net in _NETWORKS if not any(address in net for address in taken))
    found = next(free, None)
    if found is None:
        raise InputError(
            "every network from 10.213.1.0 to 10.213.254.0 is taken: leave out --netns"
        )
    return found


def _ip(*arguments: str) -> None:
    try:
        done = subprocess.run(["ip", *arguments], capture_output=True, text=True)
        reason = done.stderr.strip()
    except OSError as error:
        reason = str(error)
    else:
        if done.returncode == 0:
            return
    raise InputError(
        f"network namespaces cannot be used here: `ip {' '.join(arguments)}` said {reason!r}. "
        "They need Linux and root; leave out --netns, and all nodes share this machine's loopback"
    )
