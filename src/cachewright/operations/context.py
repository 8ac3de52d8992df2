"""The dependencies of operations and of their actions: database, settings, host, state of migrations."""

import asyncio
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import msgspec
import sqlalchemy as sa

from cachewright import errors
from cachewright.backups.storage import Storage
from cachewright.config import Settings
from cachewright.hosts.host import CONFIG, SERVER_VERSION, Host
from cachewright.hosts.server_binary import reading_server
from cachewright.model.instances import Instance, Node
from cachewright.model.tasks import Task
from cachewright.operations import client_firewall
from cachewright.operations.slot_moves.hazards import HazardCounts
from cachewright.store import authorities, backups, instances, write_logs
from cachewright.store.database import Database
from cachewright.tasks.operation import ActionFailed
from cachewright.threads import on_storage
from cachewright.topologies import topology_of
from cachewright.topologies.topology import view_all
from cachewright.valkey import node_control
from cachewright.valkey.access import SOCKET, Access, can_close_all_ports
from cachewright.valkey.certificates import (
    CA_FILE,
    NODE_FILE,
    authority_certificate,
    is_usable,
    node_certificate,
    vouchers,
)
from cachewright.valkey.config import DATA_FOLDER, valkey_conf
from cachewright.valkey.migration.source_state import MigrationState
from cachewright.valkey.sentinel import SentinelAccess
from cachewright.valkey.sources.relays import Relays
from cachewright.valkey.sources.stream import Streams
from cachewright.valkey.topology import Needed, View
from cachewright.valkey.users import User, users_of

AS_WRITTEN = f"{CONFIG}.written"
"""Copy of valkey.conf, for nodes whose valkey.conf is rewritten by Sentinel (CONFIG REWRITE)."""


class InstanceGone(LookupError):
    """The instance of a task does not exist any more."""


class OperationContext(msgspec.Struct, frozen=True):
    """:ivar migrations: state of slot migrations on the host.
    :ivar hazards: counts of hazards of slot migration that occurred.
    :ivar streams: open streams of migrations from outside, :ivar relays: relays to sources with TLS.
    :ivar opened_at: when this server made each node accept clients, in epoch seconds, by node id; only if it did.
    """

    database: Database
    settings: Settings
    host: Host
    migrations: MigrationState
    hazards: HazardCounts = msgspec.field(default_factory=HazardCounts)
    streams: Streams = msgspec.field(default_factory=Streams)
    relays: Relays = msgspec.field(default_factory=Relays)
    opened_at: dict[str, float] = msgspec.field(default_factory=dict)

    async def backup_storage(self) -> Storage:
        """The storage of backups. Opened on a thread, because a folder may be on a slow disk. Raises StorageFailed."""
        return await on_storage(self._open_backup_storage)

    async def marked_backup_storage(self) -> Storage:
        """The same, for changes: it must be the one that has the backups. Raises StorageFailed."""

        def open_it() -> tuple[Storage, bool]:
            with self.database.read() as connection:
                is_used = backups.has_any(connection, "succeed", "expired", "deleted") or write_logs.has_any(connection)
            return self._open_backup_storage(), not is_used

        storage, is_new = await on_storage(open_it)
        await storage.require_mark(is_new=is_new)
        return storage

    def _open_backup_storage(self) -> Storage:
        return Storage.open(self.settings.backup_url, create=self.settings.backup_storage is None)

    def server_that_reads(self, version: str) -> tuple[str, Path]:
        """Return version and path of the valkey-server that reads snapshots of this version: its own, or a newer one.
        Blocks. ActionFailed DCS.9015 without one."""
        found = reading_server(self.settings.valkey_binaries, version)
        if found is None:
            message = f"no valkey-server of version {version} or later is there to read the snapshot"
            raise ActionFailed(errors.BACKUP_DAMAGED, message, True)
        return found

    async def instance(self, task: Task) -> Instance:
        def read() -> Instance:
            with self.database.read() as connection:
                return _instance_of(connection, task)

        return await asyncio.to_thread(read)

    async def nodes(self, instance_id: str) -> list[Node]:
        def read() -> list[Node]:
            with self.database.read() as connection:
                return instances.nodes_of(connection, instance_id)

        return await asyncio.to_thread(read)

    async def apart_nodes(self, instance_id: str) -> list[Node]:
        """The nodes that a change of the instance's type adds later, or has replaced."""

        def read() -> list[Node]:
            with self.database.read() as connection:
                return instances.apart_of(connection, instance_id)

        return await asyncio.to_thread(read)

    async def recorded(self, instance_id: str) -> tuple[Instance | None, list[Node]]:
        """The instance and its nodes; None if it does not exist any more."""

        def read() -> tuple[Instance | None, list[Node]]:
            with self.database.read() as connection:
                return instances.find(connection, instance_id), instances.nodes_of(connection, instance_id)

        return await asyncio.to_thread(read)

    async def node(self, instance_id: str, node_id: str) -> Node | None:
        return next((node for node in await self.nodes(instance_id) if node.id == node_id), None)

    async def change_node(self, node_id: str, **values: object) -> None:
        """Store new values of columns of a node."""

        def write() -> None:
            with self.database.write() as connection:
                instances.change_node(connection, node_id, **values)

        await asyncio.to_thread(write)

    def access(self, instance: Instance | instances.Secrets) -> Access:
        return Access(
            instance.control_secret,
            instance.password,
            self.host.nodes_dir,
            self.database.claim.require,
            node_ca=instance.node_ca,
        )

    @property
    def sentinel_access(self) -> SentinelAccess:
        return SentinelAccess(self.host.sentinels_dir, self.database.claim.require)

    async def files(
        self,
        instance: Instance,
        node: Node,
        changed: Mapping[str, str] | None = None,
        users: Sequence[User] | None = None,
    ) -> dict[str, str]:
        """The files that the node is started with, by name, valkey.conf last: a node that has it can be started.

        Files that belong to the node after its first start are not among them (`Topology.first_files`). `changed` are
        parameters that are not recorded yet; `users` replace those of the record.
        """
        parameters = {**instance.parameters, **(changed or {})}
        topology, access = topology_of(instance.spec_code), self.access(instance)
        text = valkey_conf(node, access, parameters, topology.settings(node, access), users or users_of(instance))
        return {
            **await self._certificates(instance, node),
            **topology.start_files(),
            **({SERVER_VERSION: node.server_version} if node.server_version else {}),
            **({AS_WRITTEN: text} if topology.has_sentinel else {}),
            CONFIG: text,
        }

    async def has_data(self, node_id: str) -> bool:
        """Whether the node has its configuration and its data folder. Without them it would start without keys, and its
        replicas would delete theirs."""
        return all([await self.host.has_file(node_id, name) for name in (CONFIG, DATA_FOLDER)])

    async def open_port(self, instance: Instance, node: Node) -> None:
        """Make a node accept clients, of those addresses that may connect. Raises one of NODE_GONE, NodeRefused, or
        FirewallFailed."""
        if client_firewall.is_filtered(instance):
            await client_firewall.ensure(self.database, self.host)
        if await node_control.open_to_clients(node, self.access(instance)):
            self.opened_at[node.id] = time.time()
        self.host.release_port(node.host, node.port)

    async def close_port(self, instance: Instance, node: Node) -> None:
        """Make a node refuse new connections of clients. Raises one of NODE_GONE or NodeRefused."""
        access = self.access(instance)
        self.opened_at.pop(node.id, None)
        await node_control.close_to_clients(node, access)
        if topology_of(instance.spec_code).has_sentinel and not can_close_all_ports(node):
            await node_control.withhold(node, access)
        self.host.hold_port(node.host, node.port)

    async def prepare_start(self, instance_id: str, node_id: str) -> None:
        """Renew the files of a node that is about to start again: its certificate, if it is missing or expires within
        some years, and valkey.conf where Sentinel has rewritten it. A task may have written what is not recorded yet,
        so it is restored as it was written."""
        instance, nodes = await self.recorded(instance_id)
        node = next((node for node in nodes if node.id == node_id), None)
        if instance is None or node is None or not await self.host.has_file(node_id, CONFIG):
            return
        files = await self._certificates(instance, node)
        if topology_of(instance.spec_code).has_sentinel:
            written = await self.host.read_file(node_id, AS_WRITTEN)
            files = {**files, CONFIG: written} if written else await self.files(instance, node)
        if files:
            await self.host.write_files(node_id, files)

    async def _certificates(self, instance: Instance, node: Node) -> dict[str, str]:
        """The files for TLS of the node that it needs and does not have; none if its instance has no TLS between
        nodes."""
        authority = instance.node_ca
        if authority is None:
            return {}
        is_cluster = topology_of(instance.spec_code).is_cluster
        trusted = await asyncio.to_thread(self._trusted, authority, is_cluster)
        own = await self.host.read_file(node.id, NODE_FILE)
        of_clients = (instance.server_certificate or "") if node.client_tls else ""
        chain = of_clients if is_cluster else await asyncio.to_thread(vouchers, authority)
        usable = own is not None and await asyncio.to_thread(lambda: is_usable(own, authority, chain=chain))
        if usable and await self.host.read_file(node.id, CA_FILE) == trusted:
            return {}
        issued = await asyncio.to_thread(lambda: node_certificate(authority, node.id, node.host, chain=chain))
        return {CA_FILE: trusted, NODE_FILE: issued}

    def _trusted(self, authority: str, is_cluster: bool) -> str:
        """The certificates of the authorities that a node trusts, PEM. Blocks."""
        own = authority_certificate(authority)
        if is_cluster:
            return own
        with self.database.read() as connection:
            of_sentinels = authorities.find(connection, "sentinels")
        return own + authority_certificate(of_sentinels) if of_sentinels else own

    async def started_with_socket(self, node: Node) -> Node:
        """Record that the node listens on a Unix socket, if it does. Return the updated node."""
        if node.access == "socket" or not await self.host.has_file(node.id, SOCKET):
            return node
        await self.change_node(node.id, access="socket")
        return msgspec.structs.replace(node, access="socket")

    async def look(self, task: Task, *, needed: Needed = "any") -> tuple[Instance, list[Node], dict[str, View | None]]:
        """The instance, its nodes, and the view of each node as `views` returns them."""
        instance, nodes = await self.instance_and_nodes(task)
        return instance, nodes, await self.views(instance, nodes, needed=needed)

    async def instance_and_nodes(self, task: Task) -> tuple[Instance, list[Node]]:
        def read() -> tuple[Instance, list[Node]]:
            with self.database.read() as connection:
                return _instance_of(connection, task), instances.nodes_of(connection, task.instance_id)

        return await asyncio.to_thread(read)

    async def views(
        self, instance: Instance, nodes: Sequence[Node], *, needed: Needed = "any", enough: Collection[str] = ()
    ) -> dict[str, View | None]:
        """The view of each of these nodes, by node id; None for a node that does not respond. Raises NodeBusy if a
        node is busy and all views are `needed`, or no other node has a view.

        :param enough: ids of nodes. Once these have responded, others have a tenth of a second more.
        """
        topology = topology_of(instance.spec_code)
        peers = nodes if topology.is_cluster else await self.nodes(instance.id)
        return await view_all(topology, nodes, self.access(instance), needed=needed, enough=enough, peers=peers)


def _instance_of(connection: sa.Connection, task: Task) -> Instance:
    instance = instances.get(connection, task.project_id, task.instance_id)
    if instance is None:
        raise InstanceGone(f"instance {task.instance_id} of task {task.id} does not exist")
    return instance


def best_view(views: Mapping[str, View | None]) -> View:
    """The most trustworthy of the views: one that finds the cluster ok if there is one, of these one in which each slot
    has an owner, and of these the one with the latest epoch. A node that was cut off or frozen has missed changes, and
    a node that joins has not heard yet of all owners, but may have the latest epoch. Raises ActionFailed DCS.9004 if
    no node responds."""
    found = [view for view in views.values() if view]
    if not found:
        raise ActionFailed(errors.CLUSTER_NOT_HEALTHY_IN_TIME, "no node answers")
    return max(found, key=lambda view: (view.ok, view.is_whole, view.epoch, len(view.members)))
