"""What sub-steps work on: the database, the settings and the host that nodes run on."""

import asyncio
from collections.abc import Mapping, Sequence

import msgspec

from cachewright import errors
from cachewright.config import Settings
from cachewright.hosts.local import CONFIG, LocalHost
from cachewright.model.instances import Instance, Node
from cachewright.model.tasks import Task
from cachewright.store import instances
from cachewright.store.database import Database
from cachewright.tasks.operation import ActionFailed
from cachewright.topologies import topology_of
from cachewright.topologies.topology import view_all
from cachewright.valkey.access import SOCKET, Access
from cachewright.valkey.certificates import CA_FILE, NODE_FILE, authority_certificate, is_usable, node_certificate
from cachewright.valkey.config import valkey_conf
from cachewright.valkey.migration.source_state import MigrationState
from cachewright.valkey.topology import View


class OperationContext(msgspec.Struct, frozen=True):
    database: Database
    settings: Settings
    host: LocalHost
    sources: MigrationState = msgspec.field(default_factory=MigrationState)

    async def instance(self, task: Task) -> Instance:
        def read() -> Instance:
            with self.database.read() as connection:
                found = instances.get(connection, task.project_id, task.instance_id)
            if found is None:
                raise LookupError(f"instance {task.instance_id} of task {task.id} is gone")
            return found

        return await asyncio.to_thread(read)

    async def nodes(self, instance_id: str) -> list[Node]:
        def read() -> list[Node]:
            with self.database.read() as connection:
                return instances.nodes_of(connection, instance_id)

        return await asyncio.to_thread(read)

    async def node(self, instance_id: str, node_id: str) -> Node | None:
        return next((node for node in await self.nodes(instance_id) if node.id == node_id), None)

    def access(self, instance: Instance) -> Access:
        return Access(instance.control_secret, instance.password, self.settings.nodes_dir)

    def files(self, instance: Instance, node: Node, changed: Mapping[str, str] | None = None) -> dict[str, str]:
        """The files that the node is started with, by name, valkey.conf last: a node that has it can be started.
        `changed` are parameters that are not on record yet. Those that belong to Valkey after the first
        start are not among them (`Topology.first_files`)."""
        parameters = {**instance.parameters, **(changed or {})}
        settings = topology_of(instance.spec_code).settings(node)
        return {
            **self._certificates(instance, node.id),
            CONFIG: valkey_conf(node, self.access(instance), parameters, settings),
        }

    async def renew_certificate(self, instance_id: str, node_id: str) -> None:
        """Replaces the certificate of a node that is about to start, where it is missing or ends within some years."""

        def renew() -> None:
            with self.database.read() as connection:
                instance = instances.find(connection, instance_id)
            if instance and self.host.has(node_id, CONFIG) and (files := self._certificates(instance, node_id)):
                self.host.write(node_id, files)

        await asyncio.to_thread(renew)

    def _certificates(self, instance: Instance, node_id: str) -> dict[str, str]:
        """The files of TLS between nodes, where the instance has it and the node does not have them."""
        authority = instance.node_ca
        if authority is None:
            return {}
        trusted = authority_certificate(authority)
        own = self.host.read(node_id, NODE_FILE)
        if own and is_usable(own, authority) and self.host.read(node_id, CA_FILE) == trusted:
            return {}
        return {CA_FILE: trusted, NODE_FILE: node_certificate(authority, node_id)}

    async def started_with_socket(self, node: Node) -> Node:
        """Records that the node listens on its socket, where its process was started with one."""
        if node.access == "socket" or not self.host.has(node.id, SOCKET):
            return node

        def write() -> None:
            with self.database.write() as connection:
                instances.change_node(connection, node.id, access="socket")

        await asyncio.to_thread(write)
        return msgspec.structs.replace(node, access="socket")

    async def look(self, task: Task) -> tuple[Instance, list[Node], dict[str, View | None]]:
        """The instance, its nodes, and the view of each node; None where a node does not answer."""
        instance = await self.instance(task)
        nodes = await self.nodes(task.instance_id)
        return instance, nodes, await self.views(instance, nodes)

    async def views(self, instance: Instance, nodes: Sequence[Node]) -> dict[str, View | None]:
        """The view of each of these nodes, by node id; None where a node does not answer."""
        return await view_all(topology_of(instance.spec_code), nodes, self.access(instance))


def best_view(seen: Mapping[str, View | None]) -> View:
    """A view that finds the cluster ok, or at least one. Of several, the one with the latest epoch: who was cut off or
    frozen has missed what the others agreed on. ActionFailed where no node answers."""
    sights = [sight for sight in seen.values() if sight]
    if not sights:
        raise ActionFailed(errors.CLUSTER_NOT_HEALTHY_IN_TIME, "no node answers")
    return max(sights, key=lambda sight: (sight.ok, sight.epoch, len(sight.members)))
