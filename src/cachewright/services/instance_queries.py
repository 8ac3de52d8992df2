"""Queries on stored instances with their measured memory, and on statistics and quota."""

from collections.abc import Sequence

import msgspec
import sqlalchemy as sa

from cachewright import errors
from cachewright.config import Settings
from cachewright.errors import ApiError
from cachewright.flavors import parse
from cachewright.hosts.host import Host
from cachewright.model.backups import StoredBytes
from cachewright.model.identity import Principal
from cachewright.model.instances import Instance, Node, offers_sentinels
from cachewright.model.sentinels import Sentinel
from cachewright.model.tasks import Task
from cachewright.monitoring.node_stats import InstanceSample, StatsCollector
from cachewright.operations import admission, node_placement
from cachewright.placement.capacity import Allocated, Limits
from cachewright.services.lookup import instance_of
from cachewright.store import backups, counts, instances, sentinels, tasks, write_logs
from cachewright.store.database import Database
from cachewright.topologies import topology_of


class InstanceFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Conditions for listed instances. A field with its default value has no effect.

    :ivar name: part of the name, or with `name_equal` the whole name.
    :ivar tags: each is `key.value`; an instance must have all of them.
    """

    instance_id: str | None = None
    name: str | None = None
    name_equal: bool = False
    status: str | None = None
    include_failed: bool = True
    address: str | None = None
    capacity_mb: int | None = None
    tags: frozenset[str] = frozenset()

    @property
    def looks_into_rows(self) -> bool:
        """Whether rows must be read to apply the filter, because tags and capacity are not columns."""
        return bool(self.tags) or self.capacity_mb is not None

    def accepts(self, instance: Instance) -> bool:
        """Whether tags and capacity of the instance match."""
        tags = {f"{tag['key']}.{tag['value']}" for tag in instance.attributes.get("tags", [])}
        if not self.tags <= tags:
            return False
        return self.capacity_mb is None or self.capacity_mb == parse(instance.spec_code).capacity_mb


class MeasuredInstance(msgspec.Struct, frozen=True):
    """An instance with its measured memory.

    :ivar used_memory: bytes of data of all shards.
    """

    instance: Instance
    used_memory: int


class InstanceDetails(msgspec.Struct, frozen=True, kw_only=True):
    """An instance with its nodes and unfinished tasks.

    :ivar used_memory: bytes of data of all shards.
    :ivar unfinished: tasks that have not ended, oldest first, without steps.
    """

    instance: Instance
    nodes: Sequence[Node]
    used_memory: int
    unfinished: Sequence[Task]


class InstanceQueries:
    def __init__(self, database: Database, host: Host, settings: Settings, statistics: StatsCollector) -> None:
        self._database = database
        self._host = host
        self._settings = settings
        self._statistics = statistics

    def get(self, principal: Principal, instance_id: str) -> Instance:
        """Return an instance of the project. Raises ApiError DCS.3022."""
        with self._database.read() as connection:
            return instance_of(connection, principal.project_id, instance_id)

    def show(self, principal: Principal, instance_id: str) -> InstanceDetails:
        """Return an instance of the project with details. Raises ApiError DCS.3022."""
        with self._database.read() as connection:
            instance = instance_of(connection, principal.project_id, instance_id)
            return InstanceDetails(
                instance=instance,
                nodes=instances.nodes_of(connection, instance_id),
                used_memory=self._statistics.used_memory(instance_id),
                unfinished=tasks.active_of(connection, instance_id),
            )

    def sentinels(self, principal: Principal, instance_id: str) -> list[Sentinel]:
        """Return the sentinels that clients of an instance may ask; none if they must connect through its proxy. Raises
        ApiError DCS.3022, or DCS.4086 if the instance is not of type ha."""
        with self._database.read() as connection:
            instance = instance_of(connection, principal.project_id, instance_id)
            if not topology_of(instance.spec_code).has_sentinel:
                raise ApiError(errors.NOT_PRIMARY_STANDBY)
            is_offered = offers_sentinels(instance, instances.nodes_of(connection, instance_id))
            fleet = sentinels.fleet(connection) if is_offered else []
            return [sentinel for sentinel in fleet if not sentinel.has_tls]

    def page(
        self, principal: Principal, wanted: InstanceFilter, *, offset: int, limit: int
    ) -> tuple[int, list[MeasuredInstance]]:
        """Return the number of instances that match `wanted`, and one page of them, newest first."""
        with self._database.read() as connection:
            if wanted.looks_into_rows:
                _, candidates = _search(connection, principal, wanted)
                accepted = [instance for instance in candidates if wanted.accepts(instance)]
                count, page = len(accepted), accepted[offset : offset + limit]
            else:
                count, page = _search(connection, principal, wanted, offset=offset, limit=limit)
        return count, [MeasuredInstance(instance, self._statistics.used_memory(instance.id)) for instance in page]

    def all(self, principal: Principal, *, status: str | None = None) -> list[Instance]:
        """Return all instances of the project, or those in one status, newest first."""
        with self._database.read() as connection:
            return _search(connection, principal, InstanceFilter(status=status))[1]

    def count_by_status(self, principal: Principal) -> dict[str, int]:
        with self._database.read() as connection:
            return counts.by_status(connection, principal.project_id)

    def statistics(self, principal: Principal, instance_id: str) -> Sequence[InstanceSample]:
        """Return samples of the last hour, or since the start of the server, oldest first. Raises ApiError DCS.3022."""
        return self._statistics.history(self.get(principal, instance_id).id)

    def quota(self, principal: Principal) -> tuple[Allocated, Limits, StoredBytes]:
        """Return the allocated resources of the project, the limits of host and project, and what the project stores.
        An instance in a resize counts with its largest size during the resize."""
        limits = node_placement.limits(self._host, self._settings)
        with self._database.read() as connection:
            project, _ = admission.allocated(connection, principal.project_id)
            sizes = (
                backups.sizes(connection, principal.project_id),
                write_logs.sizes(connection, principal.project_id),
            )
        stored = sum(of.get(principal.project_id, 0) for of in sizes)
        return project, limits, StoredBytes(stored, self._settings.backup_quota)


def count_by_tls(connection: sa.Connection) -> tuple[int, int]:
    """The number of instances of all projects with a node on this machine that have TLS between their nodes, and of
    those without. Instances whose nodes do not connect to each other need none and are not counted."""
    secured = [tls for spec_code, tls in instances.with_tls(connection) if topology_of(spec_code).is_cluster]
    return sum(secured), len(secured) - sum(secured)


def _search(
    connection: sa.Connection,
    principal: Principal,
    wanted: InstanceFilter,
    *,
    offset: int = 0,
    limit: int | None = None,
) -> tuple[int, list[Instance]]:
    return instances.search(
        connection,
        principal.project_id,
        offset=offset,
        limit=limit,
        instance_id=wanted.instance_id,
        name=wanted.name,
        name_equal=wanted.name_equal,
        status=wanted.status,
        include_failure=wanted.include_failed,
        address=wanted.address,
    )
