"""Free TCP ports of this machine, from a range that the system does not hand out for outgoing connections."""

import random
import socket
from collections.abc import Iterator


class NoFreePort(Exception):
    """Every port of the range is taken."""


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
