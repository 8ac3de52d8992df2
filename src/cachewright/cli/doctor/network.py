"""Checks of addresses and ports, and of a server that runs."""

import fcntl
import socket
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path

from cachewright.cli import exposure
from cachewright.cli.doctor.finding import Finding, State
from cachewright.client.account import read
from cachewright.client.errors import CommandFailed
from cachewright.client.http import ApiClient
from cachewright.config import Settings, show_ports
from cachewright.hosts.addresses import is_local, is_loopback
from cachewright.hosts.ports import NoFreePort, free_ports

_PORTS_OF_A_LARGE_CLUSTER = 64


def check_exposure(settings: Settings) -> Iterator[Finding]:
    """Check what other users of the host and the network can reach."""
    endpoint = f"http://{settings.listen.address}"
    if _is_held(settings.data_dir / "server.lock"):
        with suppress(CommandFailed):
            endpoint = read(settings.credentials_file).endpoint
    for found in (*exposure.of_user(), *exposure.of_network(endpoint), *exposure.of_files(settings)):
        yield Finding(found.subject, "warn", found.message, found.remedy)


def check_server(settings: Settings) -> Iterator[Finding]:
    """A running server must respond; otherwise its port must be free."""
    if not _is_held(settings.data_dir / "server.lock"):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((settings.listen.host, settings.listen.port))
            except OSError as error:
                message = f"{settings.listen.host}:{settings.listen.port}: {error.strerror}"
                yield Finding("port", "fail", message, "Use another port: --listen.")
                return
        yield Finding("server", "ok", f"not running; {settings.listen.host}:{settings.listen.port} is free")
        return
    try:
        count = ApiClient(read(settings.credentials_file)).ask("GET", "instances", limit=1)["instance_num"]
    except CommandFailed as failed:
        yield Finding("server", "fail", f"runs, but: {failed}", "Read its log.")
    else:
        yield Finding("server", "ok", f"runs and responds; {count} instances")


def check_node_address(settings: Settings) -> Iterator[Finding]:
    """Check the address of new caches: it belongs to this host, and the ports between nodes are protected."""
    address = settings.node_host
    if not is_local(address):
        yield Finding("node address", "fail", f"{address} is no address of this host", "Correct --node-address.")
        return
    if is_loopback(address):
        yield Finding("node address", "ok", f"{address}: only this host reaches caches")
    for found in exposure.of_nodes(settings):
        yield Finding(found.subject, "warn", found.message, found.remedy)


def check_ports(settings: Settings) -> Iterator[Finding]:
    for name, ports in (("cache ports", settings.node_ports), ("bus ports", settings.bus_ports)):
        found = 0
        with suppress(NoFreePort):
            for _ in islice(free_ports(settings.node_host, ports, set()), _PORTS_OF_A_LARGE_CLUSTER):
                found += 1
        state: State = "ok" if found >= _PORTS_OF_A_LARGE_CLUSTER else "warn"
        message = f"{'enough' if state == 'ok' else found} of {show_ports(ports)} are free for nodes"
        remedy = "Each node takes one cache port and one bus port, or two with TLS between nodes."
        yield Finding(name, state, message, "" if state == "ok" else remedy)


def _is_held(lock: Path) -> bool:
    """Whether a server holds this lock. Does not create the file."""
    try:
        with lock.open("r") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
