"""A running migration in the server: its record, and the machine of its gateways there."""

import asyncio

import msgspec

from cachewright.clock import now_ms
from cachewright.hosts.addresses import own_addresses
from cachewright.jobs.migrations.machine import GatewayMachine
from cachewright.jobs.migrations.run import Assignment
from cachewright.model.instances import Instance
from cachewright.model.online_migrations import COPIED_LIBRARIES, LogLevel, MigrationEvent, OnlineMigration
from cachewright.model.tasks import Task
from cachewright.operations.context import OperationContext, best_view
from cachewright.operations.online_migrations.records import record_of
from cachewright.store import hosts
from cachewright.store import online_migrations as store
from cachewright.tasks.operation import ActionFailed
from cachewright.topologies import topology_of
from cachewright.valkey.sources.copier import TargetNotReady
from cachewright.valkey.sources.source import Source
from cachewright.valkey.sources.target import TargetMap


class MigrationRun:
    """:ivar migration: the record as it was when the sub-step began."""

    def __init__(
        self,
        context: OperationContext,
        task: Task,
        instance: Instance,
        migration: OnlineMigration,
        other_hosts: tuple[str, ...],
    ) -> None:
        """:param other_hosts: addresses of the other machines of the installation."""
        self._other_hosts = other_hosts
        self.context = context
        self.task = task
        self.instance = instance
        self.migration = migration

    @classmethod
    async def load(cls, context: OperationContext, task: Task) -> "MigrationRun":
        """Raises ActionFailed DCS.9020 if the migration was deleted."""
        instance = await context.instance(task)
        return cls(context, task, instance, await record_of(context, task), await _other_hosts(context))

    @property
    def source(self) -> Source:
        migration, identity = self.migration, None
        if migration.source_certificate and migration.source_key:
            identity = f"{migration.source_key}\n{migration.source_certificate}"
        return Source(
            addresses=tuple(part.strip() for part in migration.source_addresses.split(",") if part.strip()),
            user=migration.source_user,
            password=migration.source_password,
            watched_name=migration.source_name,
            tls=migration.source_tls,
            authorities=migration.source_ca or "",
            identity=identity,
            networks=self.context.settings.migration_networks,
            own=self._other_hosts,
        )

    @property
    def assignment(self) -> Assignment:
        migration = self.migration
        return Assignment(
            migration_id=migration.id,
            source=self.source,
            control_secret=self.instance.control_secret,
            databases=topology_of(self.instance.spec_code).databases,
            target_was_empty=bool(migration.target_was_empty),
            bandwidth_limit_mb=migration.bandwidth_limit_mb,
            copied_libraries=tuple(migration.attributes.get(COPIED_LIBRARIES, ())),
        )

    async def assignment_elsewhere(self) -> Assignment:
        """Return the assignment for another machine, which does not know the addresses of this one."""
        own = map(str, await asyncio.to_thread(own_addresses))
        source = msgspec.structs.replace(self.source, own=(*self._other_hosts, *sorted(own)))
        return msgspec.structs.replace(self.assignment, source=source)

    async def find_target(self) -> TargetMap:
        """Return the present owners of the slots of the instance. Raises TargetNotReady."""
        try:
            _, nodes, views = await self.context.look(self.task, needed="none")
            found = TargetMap.of(nodes, best_view(views))
        except ActionFailed as failure:
            raise TargetNotReady(failure.message) from failure
        if found is None:
            raise TargetNotReady("a slot has no owner")
        return found

    async def note(self, level: LogLevel, message: str) -> None:
        """Add an entry to the log of the migration."""
        event = MigrationEvent(migration_id=self.migration.id, created_at=now_ms(), level=level, message=message)

        def write() -> None:
            with self.context.database.write() as connection:
                store.log(connection, event)

        await asyncio.to_thread(write)


def machine_of(context: OperationContext) -> GatewayMachine:
    """Return the machine of the server, for gateways."""
    host = context.host
    return GatewayMachine(host.gateways, host.gateways_dir, host.own_resources, context.streams, context.relays)


async def _other_hosts(context: OperationContext) -> tuple[str, ...]:
    def read() -> tuple[str, ...]:
        with context.database.read() as connection:
            return hosts.other_addresses(connection)

    return await asyncio.to_thread(read)
