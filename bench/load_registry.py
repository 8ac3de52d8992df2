"""Many instances in the record of an installation: some with a running node, the others stopped by their owners.

Both are stored as the product stores them, with the files of their nodes on the hosts, and with the status and the
incident that an instance has since its owner stopped it. Stopped instances have no data, because nothing reads it.
"""

import asyncio
import hashlib
import uuid
from collections.abc import Sequence
from pathlib import Path

import msgspec

from bench.cluster import PASSWORD
from bench.nodes import files_of
from cachewright.clock import now_ms
from cachewright.config import Settings
from cachewright.hosts.host import CONFIG
from cachewright.hosts.local import LocalHost
from cachewright.hosts.ports import free_ports
from cachewright.model.incidents import Incident
from cachewright.model.instances import Instance, Node
from cachewright.monitoring.faults import RULES
from cachewright.store import incidents, instances
from cachewright.store.database import Database
from cachewright.valkey.access import Access
from cachewright.valkey.config import cluster_settings, valkey_conf
from cachewright.valkey.users import client_user

_AT_ONCE = 8
_STORED_AT_ONCE = 250
_MAX_MEMORY = 2**30
_STOPPED_SHARDS = 1
_STOPPED_PORTS = range(40_000, 65_000)
"""Nothing listens on the ports of stopped nodes."""


class Place(msgspec.Struct, frozen=True):
    """A host with an agent: its name, its address, and the data directory of its agent."""

    name: str
    address: str
    folder: Path


class Registered(msgspec.Struct, frozen=True):
    """:ivar stopped: the incident of an instance whose owner has stopped its nodes."""

    instance: Instance
    nodes: Sequence[Node]
    stopped: Incident | None = None


def running(places: Sequence[Place], count: int, project_id: str) -> list[Registered]:
    """Start a node for each of so many instances of one shard. Return them; they are not stored yet."""
    made = []
    for number, place in enumerate(places):
        ports = free_ports(place.address, Settings(data_dir=place.folder).node_ports, set())
        share = len(range(number, count, len(places)))
        nodes = [_node(place, str(uuid.uuid4()), 0, next(ports), next(ports), running=True) for _ in range(share)]
        asyncio.run(_start(place, nodes))
        made += [_registered([node], project_id) for node in nodes]
    return made


def stopped(places: Sequence[Place], count: int, project_id: str) -> list[Registered]:
    """Write the files of so many instances of one shard, whose owners have stopped it. Return them; they are
    not stored yet."""
    ports = {place.name: iter(_STOPPED_PORTS) for place in places}
    made = []
    for number in range(count):
        instance_id, nodes = str(uuid.uuid4()), []
        for shard in range(_STOPPED_SHARDS):
            place = places[(number + shard) % len(places)]
            own = ports[place.name]
            nodes.append(_node(place, instance_id, shard, next(own), next(own), running=False))
            folder = place.folder / "nodes" / nodes[-1].id
            folder.mkdir(parents=True, mode=0o700)
            (folder / CONFIG).write_text(_conf(nodes[-1], place.folder))
        made.append(_stopped(_registered(nodes, project_id)))
    return made


def _stopped(registered: Registered) -> Registered:
    """Return an instance with the status and the incident of one whose nodes its owner has stopped."""
    instance, code = registered.instance, RULES["stopped_shards"].code
    incident = Incident(
        id=uuid.uuid4().hex,
        instance_id=instance.id,
        project_id=instance.project_id,
        kind="stopped_shards",
        error_code=code,
        detail=f"node {registered.nodes[0].id} of shard 0 is stopped",
        began_at=instance.created_at,
    )
    instance = msgspec.structs.replace(instance, status="ERROR", error_code=code)
    return Registered(instance, registered.nodes, incident)


def store(database: Database, registered: Sequence[Registered]) -> None:
    """Store instances, in transactions for which agents do not wait long."""
    for first in range(0, len(registered), _STORED_AT_ONCE):
        with database.write() as connection:
            for one in registered[first : first + _STORED_AT_ONCE]:
                instances.add(connection, one.instance)
                instances.add_nodes(connection, one.nodes)
                if one.stopped:
                    incidents.begin(connection, one.stopped)


async def _start(place: Place, nodes: Sequence[Node]) -> None:
    host = LocalHost(Settings(data_dir=place.folder, node_host=place.address))
    room = asyncio.Semaphore(_AT_ONCE)

    async def one(node: Node) -> None:
        async with room:
            known = files_of(node, PASSWORD, slots="0-16383", epoch=1)
            await host.write_files(node.id, known | {CONFIG: _conf(node, place.folder)})
            await host.start(node.id)

    await asyncio.gather(*map(one, nodes))


def _conf(node: Node, folder: Path) -> str:
    """Return the configuration that a creation writes, for a cluster of one node."""
    access = Access(PASSWORD, PASSWORD, folder / "nodes")
    return valkey_conf(node, access, {}, cluster_settings(node), [client_user(PASSWORD)])


def _node(place: Place, instance_id: str, shard: int, port: int, bus_port: int, *, running: bool) -> Node:
    name = f"{place.address}:{port}".encode()
    return Node(
        id=hashlib.sha1(name, usedforsecurity=False).hexdigest(),
        instance_id=instance_id,
        shard=shard,
        role="primary",
        host=place.address,
        port=port,
        bus_port=bus_port,
        maxmemory=_MAX_MEMORY,
        should_run=running,
        created_at=now_ms(),
        host_name=place.name,
    )


def _registered(nodes: Sequence[Node], project_id: str) -> Registered:
    first = nodes[0]
    instance = Instance(
        id=first.instance_id,
        project_id=project_id,
        name=f"bench-{first.port}",
        status="RUNNING",
        engine_version="7.0",
        spec_code=f"redis.cluster.xu1.large.r1.s1.{len(nodes)}",
        address=first.host,
        seed_port=first.port,
        password=PASSWORD,
        control_secret=PASSWORD,
        attributes={},
        user_id="bench",
        user_name="bench",
        created_at=first.created_at,
        updated_at=first.created_at,
        launched_at=first.created_at,
    )
    return Registered(instance, nodes)
