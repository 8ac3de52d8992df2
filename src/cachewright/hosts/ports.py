"""Free TCP ports of this machine."""

import random
import socket
from collections.abc import Iterator, Set
from itertools import islice
from pathlib import Path

import msgspec

from cachewright.errors import CachewrightError

_SOCKET_TABLES = (Path("/proc/self/net/tcp"), Path("/proc/self/net/tcp6"))
_KERNEL = Path("/proc/sys/net/ipv4")
_LISTENING = "0A"
"""The state TCP_LISTEN in these tables (proc_pid_net(5))."""


class NoFreePort(CachewrightError):
    """Every port of a range is taken."""


class NodePorts(msgspec.Struct, frozen=True):
    """Ports of one node at one address: for clients, for the cluster bus, and for TLS between nodes or None."""

    client: int
    bus: int
    tls: int | None
    address: str = "127.0.0.1"

    @property
    def columns(self) -> dict[str, str | int | None]:
        """Address and ports by the names that they have in the record of a node."""
        return {"host": self.address, "port": self.client, "bus_port": self.bus, "tls_port": self.tls}

    @property
    def numbers(self) -> list[int]:
        return [port for port in (self.client, self.bus, self.tls) if port is not None]


def find_node_ports(
    address: str, clients: tuple[int, int], peers: tuple[int, int], count: int, taken: Set[int], *, tls: bool
) -> list[NodePorts]:
    """Return free ports for `count` nodes: ports for clients from the range `clients`, ports between nodes from
    `peers`. Raises NoFreePort."""
    client_ports, peer_ports = free_ports(address, clients, taken), free_ports(address, peers, taken)

    def each_node() -> Iterator[NodePorts]:
        while True:
            yield NodePorts(next(client_ports), next(peer_ports), next(peer_ports) if tls else None, address)

    return list(islice(each_node(), count))


def free_ports(address: str, ports: tuple[int, int], taken: Set[int]) -> Iterator[int]:
    """Yield each port of a range that is not in `taken` and that no process listens on or holds (`HeldPorts`). Raises
    NoFreePort at the end.

    The search starts at a random port, so that two servers on one machine rarely choose the same ports. If another
    program takes a port before its node does, the start of that node fails.
    """
    low, high = ports
    start = random.randrange(high - low)  # noqa: S311  # spreads, does not protect
    for step in range(high - low):
        port = low + (start + step) % (high - low)
        if port not in taken and is_free(address, port) and not _is_held(address, port):
            yield port
    raise NoFreePort(f"no free port on {address} from {low} to {high - 1}")


def is_free(address: str, port: int) -> bool:
    """Whether no process listens on the port."""
    return _can_bind(address, port, reuse=True)


def _is_held(address: str, port: int) -> bool:
    """Whether a socket is bound to the port; also for a minute after a process has closed connections to it."""
    return not _can_bind(address, port, reuse=False)


def _can_bind(address: str, port: int, *, reuse: bool) -> bool:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, int(reuse))
        try:
            probe.bind((address, port))
        except OSError:
            return False
    return True


def used_for_outgoing(ports: tuple[int, int]) -> str | None:
    """Return the system setting (ip-sysctl) that lets outgoing connections use ports of this range, or None."""
    try:
        first, last = map(int, (_KERNEL / "ip_local_port_range").read_text().split())
        reserved = (_KERNEL / "ip_local_reserved_ports").read_text().strip()
    except (OSError, ValueError):
        return None
    reserved_ranges = [part.partition("-") for part in reserved.split(",") if part]
    free = set(range(*ports)).intersection(range(first, last + 1))
    free.difference_update(*(range(int(low), int(high or low) + 1) for low, _, high in reserved_ranges))
    return f"net.ipv4.ip_local_port_range is {first} {last}" if free else None


def listeners() -> Iterator[tuple[int, int]]:
    """Yield TCP ports on which processes listen, each with the user id of its process, as far as they are visible."""
    for table in _SOCKET_TABLES:
        try:
            lines = table.read_text().splitlines()[1:]
        except OSError:
            continue
        for fields in map(str.split, lines):
            if fields[3] == _LISTENING:
                yield int(fields[1].rpartition(":")[2], 16), int(fields[7])
