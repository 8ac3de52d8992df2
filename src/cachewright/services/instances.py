"""The control plane: what a request may ask for, checked and put in line.

Each method decides in one write transaction, so that what it checked is still so when its task is stored. The
system is asked for free ports and for its memory before that transaction, which would keep others waiting. The task is
enqueued after the commit; should the server die in between, its next start does that.
"""

import asyncio
import secrets
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from cachewright import errors
from cachewright.clock import now_ms
from cachewright.config import Settings
from cachewright.errors import ApiError
from cachewright.flavors import Flavor, parse
from cachewright.hosts.host import Host
from cachewright.hosts.ports import NodePorts
from cachewright.model.identity import Principal
from cachewright.model.instances import Instance, Node
from cachewright.model.tasks import ENDED, Control, Task
from cachewright.monitoring.inspection import NodeBudget, NodeInspector
from cachewright.monitoring.node_stats import StatsCollector
from cachewright.monitoring.snapshots import SnapshotReader
from cachewright.operations import admission, resize_request
from cachewright.operations.configure import changes
from cachewright.operations.instance_status import set_status_after
from cachewright.operations.kinds import CHECK, CONFIGURE, CREATE, DELETE, KINDS, RESIZE, RESTART, Kind
from cachewright.operations.requests import CreateRequest, ResizeRequest
from cachewright.operations.resize import Preview
from cachewright.placement.capacity import Limits
from cachewright.placement.port_reservation import reserve
from cachewright.store import instances, task_controls, tasks
from cachewright.store.database import Database
from cachewright.store.read_cache import ReadCache
from cachewright.tasks.feed import TaskFeed
from cachewright.tasks.operation import CANCELLED, ActionFailed
from cachewright.topologies import layout, topology_of
from cachewright.valkey.access import Access
from cachewright.valkey.certificates import new_authority

_SECRET_BYTES = 32
_PREVIEW_SECONDS = 30.0


class InstanceService(msgspec.Struct, frozen=True):
    """:ivar host: the machine that nodes run on.
    :ivar kept: what is read over and over.
    :ivar feed: where changes of tasks are published.
    :ivar enqueue: hands a stored task to the engine.
    :ivar access: how to sign in to an instance's nodes.
    :ivar statistics: the latest counters of the nodes.
    :ivar observer: looks at instances for those who watch them.
    :ivar inspector: asks nodes for requests.
    :ivar budget: how much the requests of each project may ask nodes.
    :ivar preview: what a resize task would do now.
    """

    database: Database
    host: Host
    kept: ReadCache
    feed: TaskFeed
    settings: Settings
    enqueue: Callable[[Task], None]
    access: Callable[[Instance], Access]
    statistics: StatsCollector
    observer: SnapshotReader
    inspector: NodeInspector
    budget: NodeBudget
    preview: Callable[[Task], Awaitable[Preview]]

    def create_instances(self, who: Principal, wish: CreateRequest) -> list[Instance]:
        """ApiError DCS.4062 where the wished port is taken, DCS.4035, DCS.4036, DCS.4039 or DCS.9007 where there is no
        room."""
        limits = admission.limits(self.host, self.settings)
        request = admission.creation(wish.flavor, len(wish.names))
        with self.database.read() as connection:
            admission.require_room(connection, limits, who.project_id, request)
        ids = [str(uuid.uuid4()) for _ in wish.names]
        tls = topology_of(wish.flavor.spec_code).has_peers and self.host.supports_tls()
        nodes = [layout.new_nodes(self.settings, instance_id, wish.flavor) for instance_id in ids]

        authorities = [new_authority(instance_id) if tls else None for instance_id in ids]

        def add(connection: sa.Connection, ports: Sequence[NodePorts]) -> list[tuple[Instance, Task]]:
            admission.require_room(connection, limits, who.project_id, request)
            count = len(nodes[0])
            placed = [layout.placed(own, ports[place * count :][:count]) for place, own in enumerate(nodes)]
            made = zip(wish.names, placed, authorities, strict=True)
            return [
                self._create(connection, who, wish, name=name, nodes=own, node_ca=node_ca)
                for name, own, node_ca in made
            ]

        added = reserve(self.database, self.host, self.settings, request.size.nodes, add, tls=tls, first=wish.port)
        for _, task in added:
            self.enqueue(task)
        return [instance for instance, _ in added]

    def _create(
        self,
        connection: sa.Connection,
        who: Principal,
        wish: CreateRequest,
        *,
        name: str,
        nodes: Sequence[Node],
        node_ca: str | None,
    ) -> tuple[Instance, Task]:
        now = now_ms()
        instance = Instance(
            id=nodes[0].instance_id,
            project_id=who.project_id,
            name=name,
            status=CREATE.during,
            engine_version=wish.engine_version,
            spec_code=wish.flavor.spec_code,
            seed_port=nodes[0].port,
            password=wish.password,
            control_secret=secrets.token_urlsafe(_SECRET_BYTES),
            attributes=wish.attributes,
            user_id=who.user_id,
            user_name=who.user_name,
            created_at=now,
            updated_at=now,
            node_ca=node_ca,
        )
        instances.add(connection, instance)
        instances.add_nodes(connection, nodes)
        flavor = {"spec_code": wish.flavor.spec_code, "engine_version": wish.engine_version}
        return instance, _add_task(connection, CREATE, who, instance, params=flavor, details={})

    def resize_instance(self, who: Principal, instance_id: str, wish: ResizeRequest) -> Task:
        """ApiError DCS.3022, 4927, 4012, 4102 (a change that is not served), 4103 (no change), 4036, 4039 or 9007 (no
        room), or busy."""
        return self._submit_resize(RESIZE, who, instance_id, wish)

    def check_resize(self, who: Principal, instance_id: str, wish: ResizeRequest) -> Task:
        """Checks in the background what `resize_instance` would begin with. Refusals as there."""
        return self._submit_resize(CHECK, who, instance_id, wish)

    def resize_task(self, who: Principal, instance_id: str, wish: ResizeRequest) -> tuple[Instance, Task]:
        """The task that `resize_instance` would store now; nothing is stored. Refusals as there, but that missing
        room is a blocker of the preview."""
        with self.database.read() as connection:
            instance = self._get(connection, who, instance_id)
            old, new = resize_request.sizes(connection, instance, wish)
        params, details = resize_request.params(new), resize_request.details(old, new)
        return instance, _task(RESIZE, who, instance, params=params, details=details)

    async def preview_resize(self, task: Task) -> Preview:
        """What that task would do now; nothing is touched. ApiError DCS.4049 where its nodes do not answer in time,
        DCS.4974 where too many of the project's requests wait."""
        async with self.budget.preview(task.project_id):
            try:
                async with asyncio.timeout(_PREVIEW_SECONDS):
                    return await self.preview(task)
            except (ActionFailed, TimeoutError) as failure:
                raise ApiError(errors.INSTANCE_NOT_RUNNING) from failure

    def _submit_resize(self, kind: Kind, who: Principal, instance_id: str, wish: ResizeRequest) -> Task:
        limits = admission.limits(self.host, self.settings)
        with self.database.write() as connection:
            instance = self._get(connection, who, instance_id)
            _require_status(instance, kind)
            _require_not_configuring(connection, instance)
            old, new = resize_request.sizes(connection, instance, wish)
            self._require_room(connection, limits, instance, new)
            params, details = resize_request.params(new), resize_request.details(old, new)
            task = _add_task(connection, kind, who, instance, params=params, details=details)
        self.enqueue(task)
        return task

    def delete_instance(self, who: Principal, instance_id: str) -> Task:
        """ApiError DCS.3022, or DCS.4099 while it may not be deleted. A task that runs is let end first."""
        with self.database.write() as connection:
            instance = self._get(connection, who, instance_id)
            if waiting := [t for t in tasks.unfinished_of(connection, instance_id) if t.kind == DELETE.kind]:
                return waiting[0]
            _require_status(instance, DELETE)
            task = _add_task(connection, DELETE, who, instance, params={}, details={})
        self.enqueue(task)
        return task

    def restart_instance(self, who: Principal, instance_id: str) -> Task:
        """ApiError DCS.3022, or busy."""
        with self.database.write() as connection:
            instance = self._get(connection, who, instance_id)
            _require_status(instance, RESTART)
            _require_not_configuring(connection, instance)
            task = _add_task(connection, RESTART, who, instance, params={}, details={})
        self.enqueue(task)
        return task

    def configure_instance(self, who: Principal, instance_id: str, values: Mapping[str, str]) -> Task:
        """Changes parameters, by name. ApiError DCS.3022, or busy."""
        with self.database.write() as connection:
            instance = self._get(connection, who, instance_id)
            _require_status(instance, CONFIGURE)
            _require_not_configuring(connection, instance)
            params, details = changes(instance, values), {"updated_config_length": len(values)}
            task = _add_task(connection, CONFIGURE, who, instance, params=params, details=details)
        self.enqueue(task)
        return task

    def delete_task(self, who: Principal, instance_id: str, task_id: str) -> None:
        """Forgets a task that has ended. ApiError DCS.3022, DCS.4958, or DCS.4957 while it has not."""
        with self.database.write() as connection:
            task = self._task(connection, who, instance_id, task_id)
            if task.status not in ENDED:
                raise ApiError(errors.TASK_STATE_CONFLICT)
            tasks.remove(connection, task)

    def control_task(self, who: Principal, instance_id: str, task_id: str, control: Control) -> Task:
        """Pauses, resumes, throttles or cancels a task. ApiError DCS.3022, DCS.4958, or DCS.4957 where it has ended or
        is not one of those that can be left half-way.

        A task that still waits in line is over at once when it is cancelled; one that runs ends when what it does has
        been put in order.
        """
        with self.database.write() as connection:
            task = self._task(connection, who, instance_id, task_id)
            kind = KINDS[task.kind]
            if task.status in ENDED or (control.state != "running" and not kind.divisible):
                raise ApiError(errors.TASK_STATE_CONFLICT)
            task_controls.put(connection, task_id, control)
            if control.state == "cancelled" and task.status == "WAITING":
                over = {"status": "FAILED", "error_code": CANCELLED, "message": "cancelled before it began"}
                ended = max(now_ms(), task.created_at)
                tasks.change(connection, task_id, end_time=ended, revision=task.revision + 1, **over)
                set_status_after(connection, tasks.load(connection, task_id))
            changed = tasks.load(connection, task_id)
        self.feed.publish(changed)
        return changed

    def cancel_resize(self, who: Principal, instance_id: str, task_id: str) -> None:
        """Cancels a task that resizes. ApiError DCS.3022, DCS.4958, or DCS.4957 where it does something else or has
        ended."""
        with self.database.read() as connection:
            task = self._task(connection, who, instance_id, task_id)
        if task.kind != RESIZE.kind:
            raise ApiError(errors.TASK_STATE_CONFLICT)
        self.control_task(who, instance_id, task_id, Control(state="cancelled"))

    def retry_task(self, who: Principal, instance_id: str, task_id: str) -> Task:
        """Goes on with a task that has failed: what was finished stays, the rest is planned anew. ApiError DCS.3022,
        DCS.4958, DCS.4957 where it has not failed, DCS.4036, DCS.4039 or DCS.9007 where a resize has no room, or
        busy."""
        limits = admission.limits(self.host, self.settings)
        with self.database.write() as connection:
            task = self._task(connection, who, instance_id, task_id)
            instance = self._get(connection, who, instance_id)
            kind = KINDS[task.kind]
            if task.status != "FAILED":
                raise ApiError(errors.TASK_STATE_CONFLICT)
            if instance.status != kind.failure and instance.status not in kind.accepts:
                raise ApiError(_BUSY.get(instance.status, errors.INSTANCE_NOT_RUNNING))
            if kind is RESIZE:
                self._require_room(connection, limits, instance, parse(task.params["spec_code"]))
            task_controls.remove(connection, [task_id])
            again = msgspec.structs.replace(
                task, status="WAITING", end_time=None, error_code=None, message="", attempt=task.attempt + 1
            )
            saved = tasks.save(connection, again)
            instances.change(connection, instance_id, status=kind.during, updated_at=now_ms(), error_code=None)
        self.feed.publish(saved)
        self.enqueue(saved)
        return saved

    def _require_room(self, connection: sa.Connection, limits: Limits, instance: Instance, new: Flavor) -> None:
        nodes = instances.nodes_of(connection, instance.id)
        request = admission.resizing(nodes, new, self.statistics.used_memory(instance.id))
        admission.require_room(connection, limits, instance.project_id, request, instance)

    def _task(self, connection: sa.Connection, who: Principal, instance_id: str, task_id: str) -> Task:
        self._get(connection, who, instance_id)
        task = tasks.get(connection, instance_id, task_id)
        if task is None:
            raise ApiError(errors.TASK_NOT_FOUND)
        return task

    def _get(self, connection: sa.Connection, who: Principal, instance_id: str) -> Instance:
        instance = instances.get(connection, who.project_id, instance_id)
        if instance is None:
            raise ApiError(errors.INSTANCE_NOT_FOUND)
        return instance


_BUSY = {
    "CREATING": errors.INSTANCE_CREATING,
    "EXTENDING": errors.INSTANCE_RESIZING,
    "RESTARTING": errors.INSTANCE_RESTARTING,
    "DELETING": errors.INSTANCE_STATE_CONFLICT,
}
"""Why an instance in this status takes no other change."""


def _require_status(instance: Instance, kind: Kind) -> None:
    if instance.status in kind.accepts:
        return
    if kind is DELETE:
        raise ApiError(errors.INSTANCE_NOT_DELETABLE)
    raise ApiError(_BUSY.get(instance.status, errors.INSTANCE_NOT_RUNNING))


def _require_not_configuring(connection: sa.Connection, instance: Instance) -> None:
    """ApiError DCS.4114 while parameters are being changed, which the instance's status does not show."""
    if any(task.kind == CONFIGURE.kind for task in tasks.unfinished_of(connection, instance.id)):
        raise ApiError(errors.INSTANCE_CONFIGURING)


def _add_task(
    connection: sa.Connection,
    kind: Kind,
    who: Principal,
    instance: Instance,
    *,
    params: dict[str, Any],
    details: dict[str, Any],
) -> Task:
    """Stores the task and, unless another runs that must end first, says so in the instance's status."""
    task = _task(kind, who, instance, params=params, details=details)
    # Lists are in the order of this time: a clock that was set back must not hide what was asked for last.
    created_at = max(task.created_at, tasks.last_created_at(connection, who.project_id))
    task = msgspec.structs.replace(task, created_at=created_at)
    running = tasks.unfinished_of(connection, instance.id)
    tasks.add(connection, task)
    if not running:
        instances.change(connection, instance.id, status=kind.during, updated_at=task.created_at)
    return task


def _task(kind: Kind, who: Principal, instance: Instance, *, params: dict[str, Any], details: dict[str, Any]) -> Task:
    task_id = uuid.uuid4().hex
    return Task(
        id=task_id,
        instance_id=instance.id,
        project_id=who.project_id,
        kind=kind.kind,
        name=kind.name,
        status="WAITING",
        params=params,
        details=details,
        user_id=who.user_id,
        user_name=who.user_name,
        created_at=now_ms(),
        steps=kind.outline(task_id),
    )
