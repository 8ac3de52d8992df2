"""A data directory with many instances, each with a running node, on which a server can start."""

import asyncio
import hashlib
import tempfile
import time
import uuid
from pathlib import Path
from typing import Self

from bench.cluster import PASSWORD
from bench.nodes import files_of
from cachewright.cli.demo.server import kill_left_behind
from cachewright.config import Settings
from cachewright.hosts.local import LocalHost
from cachewright.hosts.ports import free_ports
from cachewright.model.instances import Instance, Node
from cachewright.services.accounts import first_credentials
from cachewright.store import instances
from cachewright.store.opening import open_database
from cachewright.valkey.access import Access
from cachewright.valkey.config import cluster_settings, valkey_conf
from cachewright.valkey.users import client_user

_AT_ONCE = 16
_MAX_MEMORY = 2**30


class Fleet:
    """`count` instances of one shard and one node, stored and started as by a creation."""

    def __init__(self, count: int) -> None:
        """Return when every node runs."""
        self._folder = tempfile.TemporaryDirectory(prefix="cachewright-bench-", ignore_cleanup_errors=True)
        self.root = Path(self._folder.name) / "data"
        self.root.mkdir(mode=0o700)
        self._settings = Settings(data_dir=self.root)
        self.nodes = _nodes(self._settings, count)
        self._register()
        asyncio.run(self._start())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        kill_left_behind(self.root)
        self._folder.cleanup()

    def _register(self) -> None:
        database = open_database(self._settings)
        with database.write() as connection:
            first = first_credentials(connection)
            assert first
            assert first.project
            for node in self.nodes:
                instances.add(connection, _instance(node, first.project.id))
            if self.nodes:
                instances.add_nodes(connection, self.nodes)
        database.close()

    async def _start(self) -> None:
        host = LocalHost(self._settings)
        room = asyncio.Semaphore(_AT_ONCE)

        async def one(node: Node) -> None:
            async with room:
                await host.write_files(node.id, self._files(node))
                await host.start(node.id)

        await asyncio.gather(*(one(node) for node in self.nodes))

    def _files(self, node: Node) -> dict[str, str]:
        """Write the users that a creation writes; the node is a cluster of one that owns every slot."""
        access = Access(PASSWORD, PASSWORD, self._settings.nodes_dir)
        conf = valkey_conf(node, access, {}, cluster_settings(node), [client_user(PASSWORD)])
        return files_of(node, PASSWORD, slots="0-16383", epoch=1) | {"valkey.conf": conf}


def _nodes(settings: Settings, count: int) -> list[Node]:
    ports = free_ports(settings.node_host, settings.node_ports, set())
    made = []
    for _ in range(count):
        port = next(ports)
        made.append(
            Node(
                id=hashlib.sha1(f"bench/{port}".encode(), usedforsecurity=False).hexdigest(),
                instance_id=str(uuid.uuid4()),
                shard=0,
                role="primary",
                host=settings.node_host,
                port=port,
                bus_port=next(ports),
                maxmemory=_MAX_MEMORY,
                should_run=True,
                created_at=int(time.time() * 1000),
            )
        )
    return made


def _instance(node: Node, project_id: str) -> Instance:
    return Instance(
        id=node.instance_id,
        project_id=project_id,
        name=f"bench-{node.port}",
        status="RUNNING",
        engine_version="7.0",
        spec_code="redis.cluster.xu1.large.r1.s1.1",
        seed_port=node.port,
        password=PASSWORD,
        control_secret=PASSWORD,
        attributes={},
        user_id="bench",
        user_name="bench",
        created_at=node.created_at,
        updated_at=node.created_at,
        launched_at=node.created_at,
    )
