"""Free TCP ports of this machine, from ranges that the system does not hand out for outgoing connections."""

import random
import socket
from collections.abc import Iterator

import msgspec


class NoFreePort(Exception):
    """Every port of the range is taken."""


class NodePorts(msgspec.Struct, frozen=True):
    """Ports of one node: for clients, for the cluster bus, and for TLS between nodes or None."""

    client: int
    bus: int
    tls: int | None


def free_node_ports(
    host: str, clients: tuple[int, int], peers: tuple[int, int], taken: set[int], *, tls: bool
) -> Iterator[NodePorts]:
    """Free ports for one node after another; those that only other nodes connect to come from the range `peers`."""
    for_clients, for_peers = free_ports(host, clients, taken), free_ports(host, peers, taken)
    while True:
        yield NodePorts(next(for_clients), next(for_peers), next(for_peers) if tls else None)


def free_ports(host: str, ports: tuple[int, int], taken: set[int]) -> Iterator[int]:
    """Ports nobody listens on and nobody has been promised, each once.

    They start at a random place, so that two servers on one machine rarely look at the same ones; a port that is
    lost between the look and the use shows when its process is started.
    """
    low, high = ports
    start = random.randrange(high - low)  # noqa: S311  # spreads, does not protect
    for step in range(high - low):
        port = low + (start + step) % (high - low)
        if port not in taken and is_free(host, port):
            yield port
    raise NoFreePort(f"no free port on {host} from {low} to {high - 1}")


def is_free(host: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True
