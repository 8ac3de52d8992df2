"""A real node outside of any cluster, for tests of modules that use a single node."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from cachewright.config import Settings
from cachewright.hosts.local import LocalHost
from cachewright.hosts.ports import free_ports
from cachewright.model.instances import Node
from cachewright.valkey.access import Access


def signed_in_with(password: str | None) -> Access:
    """Access to nodes that have only the user `default`."""
    return Access("", password, Path())


OPEN = signed_in_with(None)


def node_at(port: int, bus_port: int = 1) -> Node:
    return Node(
        id="b" * 40,
        instance_id="i",
        shard=0,
        role="primary",
        host="127.0.0.1",
        port=port,
        bus_port=bus_port,
        maxmemory=1,
        should_run=True,
        created_at=1,
        access="password",
    )


def nowhere() -> Node:
    """A node that does not run."""
    ports = free_ports("127.0.0.1", (10240, 30000), set())
    return node_at(next(ports), next(ports))


@asynccontextmanager
async def started(folder: Path, *lines: str) -> AsyncIterator[Node]:
    """A running node with additional lines of configuration, for the `with` block."""
    host = LocalHost(Settings(data_dir=folder))
    node = nowhere()
    ports = (f"port {node.port}", f"cluster-port {node.bus_port}")
    usual = ("bind 127.0.0.1", *ports, "daemonize yes", "pidfile valkey.pid", "set-proc-title no")
    await host.write_files(node.id, {"valkey.conf": "".join(f"{line}\n" for line in (*usual, *lines))})
    await host.start(node.id)
    try:
        await _listening(node)
        yield node
    finally:
        await host.remove(node.id, 5)


async def _listening(node: Node) -> None:
    """Return when the node accepts connections: it writes its pid file a moment before."""
    async with asyncio.timeout(60):
        while True:
            try:
                _, writer = await asyncio.open_connection(node.host, node.port)
            except ConnectionRefusedError:
                await asyncio.sleep(0.01)
            else:
                writer.close()
                await writer.wait_closed()
                return
