"""Present state of instances: read the rows on a thread, then query the nodes on the event loop."""

import asyncio
from collections.abc import Mapping, Sequence

import msgspec
import sqlalchemy as sa

from cachewright import errors
from cachewright.errors import ApiError
from cachewright.model.identity import Principal
from cachewright.model.instances import Instance, Node
from cachewright.model.tasks import Task
from cachewright.monitoring.inspection import NodeInfo, NodeInspector
from cachewright.monitoring.snapshots import InstanceSnapshot, SnapshotReader
from cachewright.operations.configure import CONFIGURE
from cachewright.services.lookup import instance_of
from cachewright.store import hosts, instances, instances_with_nodes, tasks
from cachewright.store.database import Database
from cachewright.threads import RequestThreads

_Recorded = tuple[Instance, list[Node]]


class InstanceNodes(msgspec.Struct, frozen=True):
    """An instance with its nodes, which are ordered by shard."""

    instance: Instance
    nodes: Sequence[NodeInfo]


class InstanceConfiguration(msgspec.Struct, frozen=True, kw_only=True):
    """An instance with its parameters.

    :ivar values: parameters of each node that answers, by node id.
    :ivar latest_change: newest task that changes parameters.
    """

    instance: Instance
    values: Mapping[str, Mapping[str, str]]
    latest_change: Task | None


class NodeQueries:
    def __init__(
        self, database: Database, threads: RequestThreads, inspector: NodeInspector, snapshots: SnapshotReader
    ) -> None:
        self._database = database
        self._threads = threads
        self._inspector = inspector
        self._snapshots = snapshots

    async def of_instance(self, principal: Principal, instance_id: str) -> InstanceNodes:
        """Return the nodes of an instance. Raises ApiError DCS.3022, or DCS.4974 if too many requests of the project
        wait."""

        def read() -> _Recorded:
            with self._database.read() as connection:
                instance = instance_of(connection, principal.project_id, instance_id)
                return instance, instances.nodes_of(connection, instance_id)

        recorded = await self._threads.read(principal.project_id, read)
        (inspected,) = await self._inspect(principal, [recorded])
        return inspected

    async def page(self, principal: Principal, *, offset: int, limit: int) -> tuple[int, list[InstanceNodes]]:
        """Return the number of the project's instances and one page of them, newest first. Raises ApiError DCS.4974."""

        def read() -> tuple[int, list[_Recorded]]:
            with self._database.read() as connection:
                count, page = instances.search(connection, principal.project_id, offset=offset, limit=limit)
                return count, _with_nodes(connection, page)

        count, recorded = await self._threads.read(principal.project_id, read)
        return count, await self._inspect(principal, recorded)

    async def of_running_instances(self, principal: Principal) -> list[InstanceNodes]:
        """Return all instances of the project in status RUNNING, newest first. Raises ApiError DCS.4974."""

        def read() -> list[_Recorded]:
            with self._database.read() as connection:
                _, running = instances.search(connection, principal.project_id, status="RUNNING")
                return _with_nodes(connection, running)

        return await self._inspect(principal, await self._threads.read(principal.project_id, read))

    async def configuration(self, principal: Principal, instance_id: str) -> InstanceConfiguration:
        """Return the parameters of an instance. Raises ApiError DCS.3022, DCS.4049 if no node answers, or DCS.4974."""

        def read() -> tuple[Instance, list[Node], Task | None]:
            with self._database.read() as connection:
                instance = instance_of(connection, principal.project_id, instance_id)
                _, newest = tasks.of_kind(connection, instance_id, CONFIGURE.kind, offset=0, limit=1)
                return instance, instances.nodes_of(connection, instance_id), next(iter(newest), None)

        instance, nodes, latest_change = await self._threads.read(principal.project_id, read)
        values = await self._inspector.configuration(instance, nodes)
        return InstanceConfiguration(instance=instance, values=values, latest_change=latest_change)

    async def snapshot(self, principal: Principal, instance_id: str) -> InstanceSnapshot:
        """Return the instance, its running task and its shards, at most a fraction of a second old. Raises ApiError
        DCS.3022 or DCS.4974."""
        snapshot = await self._snapshots.first_look(principal.project_id, instance_id)
        if snapshot is None:
            raise ApiError(errors.INSTANCE_NOT_FOUND)
        return snapshot

    async def next_snapshot(self, principal: Principal, instance_id: str) -> InstanceSnapshot | None:
        """Return the next snapshot for an event stream, or None if the instance was deleted."""
        return await self._snapshots.look(principal.project_id, instance_id)

    async def _inspect(self, principal: Principal, recorded: Sequence[_Recorded]) -> list[InstanceNodes]:
        def read() -> Mapping[str, str]:
            with self._database.read() as connection:
                return {host.name: host.zone for host in hosts.without_reports(connection)}

        answers, zones = await asyncio.gather(
            self._inspector.look(principal.project_id, recorded), self._threads.read(principal.project_id, read)
        )
        return [
            InstanceNodes(
                instance,
                [
                    msgspec.structs.replace(info, zone=zones.get(info.node.host_name, ""))
                    for info in answers[instance.id]
                ],
            )
            for instance, _ in recorded
        ]


def _with_nodes(connection: sa.Connection, found: Sequence[Instance]) -> list[_Recorded]:
    nodes = instances_with_nodes.nodes_of_each(connection, [instance.id for instance in found])
    return [(instance, nodes[instance.id]) for instance in found]
