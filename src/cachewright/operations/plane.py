"""The control plane: what a request may ask for, checked and put in line.

Each method decides in one write transaction, so that what it checked is still so when its task is stored. The task is
enqueued after the commit; should the server die in between, its next start does that.
"""

import asyncio
import secrets
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import sqlalchemy as sa

from cachewright.config import Settings
from cachewright.errors import Refusal
from cachewright.flavors import Flavor, UnknownFlavor, parse
from cachewright.operations import layout
from cachewright.operations.inspection import Inspector, NodeBudget
from cachewright.operations.kinds import CHECK, CREATE, DELETE, KINDS, RESIZE, RESTART, Kind
from cachewright.operations.live import Observer
from cachewright.operations.resize import Preview
from cachewright.operations.vitals import Vitals
from cachewright.operations.wishes import CreateWish, ResizeWish
from cachewright.store import controls, instances, tasks
from cachewright.store.database import Database
from cachewright.store.kept import Kept
from cachewright.store.records import ENDED, Control, Instance, Principal, Task
from cachewright.tasks.clock import now_ms
from cachewright.tasks.feed import Feed
from cachewright.tasks.operation import CANCELLED, ActionFailed
from cachewright.valkey.access import Access

_SECRET_BYTES = 32
_PREVIEW_SECONDS = 30.0


class ControlPlane(msgspec.Struct, frozen=True):
    """:ivar kept: what is read over and over.
    :ivar feed: where changes of tasks are published.
    :ivar enqueue: hands a stored task to the engine.
    :ivar access: how to sign in to an instance's nodes.
    :ivar vitals: what nodes said of themselves last.
    :ivar observer: looks at instances for those who watch them.
    :ivar inspector: asks nodes for requests.
    :ivar budget: how much the requests of each project may ask nodes.
    :ivar preview: what a resize task would do now.
    """

    database: Database
    kept: Kept
    feed: Feed
    settings: Settings
    enqueue: Callable[[Task], None]
    access: Callable[[Instance], Access]
    vitals: Vitals
    observer: Observer
    inspector: Inspector
    budget: NodeBudget
    preview: Callable[[Task], Awaitable[Preview]]

    def create_instances(self, who: Principal, wish: CreateWish) -> list[Instance]:
        """Refusal DCS.4062 where the wished port is taken."""
        with self.database.write() as connection:
            added = [self._create(connection, who, wish, name) for name in wish.names]
        for _, task in added:
            self.enqueue(task)
        return [instance for instance, _ in added]

    def _create(self, connection: sa.Connection, who: Principal, wish: CreateWish, name: str) -> tuple[Instance, Task]:
        instance_id = str(uuid.uuid4())
        nodes = layout.new_nodes(connection, self.settings, instance_id, wish.flavor, seed_port=wish.port)
        now = now_ms()
        instance = Instance(
            id=instance_id,
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
        )
        instances.add(connection, instance)
        instances.add_nodes(connection, nodes)
        flavor = {"spec_code": wish.flavor.spec_code, "engine_version": wish.engine_version}
        return instance, _add_task(connection, CREATE, who, instance, params=flavor, details={})

    def resize_instance(self, who: Principal, instance_id: str, wish: ResizeWish) -> Task:
        """Refusal DCS.3022, 4927, 4012, 4102 (a change that is not served), 4103 (no change), or busy."""
        return self._submit_resize(RESIZE, who, instance_id, wish)

    def check_resize(self, who: Principal, instance_id: str, wish: ResizeWish) -> Task:
        """Checks in the background what `resize_instance` would begin with. Refusals as there."""
        return self._submit_resize(CHECK, who, instance_id, wish)

    def resize_task(self, who: Principal, instance_id: str, wish: ResizeWish) -> tuple[Instance, Task]:
        """The task that `resize_instance` would store now; nothing is stored. Refusals as there."""
        with self.database.read() as connection:
            instance = self._get(connection, who, instance_id)
            old, new = _sizes(connection, instance, wish)
        return instance, _task(RESIZE, who, instance, params=_resize_params(new), details=_resize_details(old, new))

    async def preview_resize(self, task: Task) -> Preview:
        """What that task would do now; nothing is touched. Refusal DCS.4049 where its nodes do not answer in time,
        DCS.4974 where too many of the project's requests wait."""
        async with self.budget.preview(task.project_id):
            try:
                async with asyncio.timeout(_PREVIEW_SECONDS):
                    return await self.preview(task)
            except (ActionFailed, TimeoutError) as failure:
                raise Refusal("DCS.4049") from failure

    def _submit_resize(self, kind: Kind, who: Principal, instance_id: str, wish: ResizeWish) -> Task:
        with self.database.write() as connection:
            instance = self._get(connection, who, instance_id)
            _require_status(instance, kind)
            old, new = _sizes(connection, instance, wish)
            params, details = _resize_params(new), _resize_details(old, new)
            task = _add_task(connection, kind, who, instance, params=params, details=details)
        self.enqueue(task)
        return task

    def delete_instance(self, who: Principal, instance_id: str) -> Task:
        """Refusal DCS.3022, or DCS.4099 while it may not be deleted. A task that runs is let end first."""
        with self.database.write() as connection:
            instance = self._get(connection, who, instance_id)
            if waiting := [t for t in tasks.unfinished_of(connection, instance_id) if t.kind == DELETE.kind]:
                return waiting[0]
            _require_status(instance, DELETE)
            task = _add_task(connection, DELETE, who, instance, params={}, details={})
        self.enqueue(task)
        return task

    def restart_instance(self, who: Principal, instance_id: str) -> Task:
        """Refusal DCS.3022, or busy."""
        with self.database.write() as connection:
            instance = self._get(connection, who, instance_id)
            _require_status(instance, RESTART)
            task = _add_task(connection, RESTART, who, instance, params={}, details={})
        self.enqueue(task)
        return task

    def delete_task(self, who: Principal, instance_id: str, task_id: str) -> None:
        """Forgets a task that has ended. Refusal DCS.3022, DCS.4958, or DCS.4957 while it has not."""
        with self.database.write() as connection:
            task = self._task(connection, who, instance_id, task_id)
            if task.status not in ENDED:
                raise Refusal("DCS.4957")
            tasks.remove(connection, task)

    def control_task(self, who: Principal, instance_id: str, task_id: str, control: Control) -> Task:
        """Pauses, resumes, throttles or cancels a task. Refusal DCS.3022, DCS.4958, or DCS.4957 where it has ended or
        is not one of those that can be left half-way.

        A task that still waits in line is over at once when it is cancelled; one that runs ends when what it does has
        been put in order.
        """
        with self.database.write() as connection:
            task = self._task(connection, who, instance_id, task_id)
            kind = KINDS[task.kind]
            if task.status in ENDED or (control.wish != "run" and not kind.divisible):
                raise Refusal("DCS.4957")
            controls.put(connection, task_id, control)
            if control.wish == "cancel" and task.status == "WAITING":
                over = {"status": "FAILED", "error_code": CANCELLED, "message": "cancelled before it began"}
                ended = max(now_ms(), task.created_at)
                tasks.change(connection, task_id, end_time=ended, revision=task.revision + 1, **over)
                if not tasks.unfinished_of(connection, instance_id):
                    instances.change(connection, instance_id, status=kind.failure, updated_at=now_ms())
            changed = tasks.load(connection, task_id)
        self.feed.publish(changed)
        return changed

    def cancel_resize(self, who: Principal, instance_id: str, task_id: str) -> None:
        """Cancels a task that resizes. Refusal DCS.3022, DCS.4958, or DCS.4957 where it does something else or has
        ended."""
        with self.database.read() as connection:
            task = self._task(connection, who, instance_id, task_id)
        if task.kind != RESIZE.kind:
            raise Refusal("DCS.4957")
        self.control_task(who, instance_id, task_id, Control(wish="cancel"))

    def retry_task(self, who: Principal, instance_id: str, task_id: str) -> Task:
        """Goes on with a task that has failed: what was finished stays, the rest is planned anew. Refusal DCS.3022,
        DCS.4958, DCS.4957 where it has not failed, or busy."""
        with self.database.write() as connection:
            task = self._task(connection, who, instance_id, task_id)
            instance = self._get(connection, who, instance_id)
            kind = KINDS[task.kind]
            if task.status != "FAILED":
                raise Refusal("DCS.4957")
            if instance.status != kind.failure and instance.status not in kind.accepts:
                raise Refusal(_BUSY.get(instance.status, "DCS.4049"))
            controls.remove(connection, [task_id])
            again = msgspec.structs.replace(
                task, status="WAITING", end_time=None, error_code=None, message="", attempt=task.attempt + 1
            )
            saved = tasks.save(connection, again)
            instances.change(connection, instance_id, status=kind.during, updated_at=now_ms(), error_code=None)
        self.feed.publish(saved)
        self.enqueue(saved)
        return saved

    def _task(self, connection: sa.Connection, who: Principal, instance_id: str, task_id: str) -> Task:
        self._get(connection, who, instance_id)
        task = tasks.get(connection, instance_id, task_id)
        if task is None:
            raise Refusal("DCS.4958")
        return task

    def _get(self, connection: sa.Connection, who: Principal, instance_id: str) -> Instance:
        instance = instances.get(connection, who.project_id, instance_id)
        if instance is None:
            raise Refusal("DCS.3022")
        return instance


_BUSY = {
    "CREATING": "DCS.4118",
    "EXTENDING": "DCS.4113",
    "RESTARTING": "DCS.4111",
    "DELETING": "DCS.4026",
}
"""Why an instance in this status takes no other change."""


def _require_status(instance: Instance, kind: Kind) -> None:
    if instance.status in kind.accepts:
        return
    if kind is DELETE:
        raise Refusal("DCS.4099")
    raise Refusal(_BUSY.get(instance.status, "DCS.4049"))


def _sizes(connection: sa.Connection, instance: Instance, wish: ResizeWish) -> tuple[Flavor, Flavor]:
    """What the instance is and what it is wished to be. Refusal where it cannot be.

    The size it has already is no change, unless a scale that failed has left it with another number of shards.
    """
    try:
        new = parse(wish.spec_code)
    except UnknownFlavor as unknown:
        raise Refusal("DCS.4927", reason=str(unknown)) from unknown
    old = parse(instance.spec_code)
    if wish.capacity_mb is not None and wish.capacity_mb != new.capacity_mb:
        raise Refusal("DCS.4012", reason=f"new_capacity is not the {new.capacity_gb} GB of {new.spec_code}")
    if (new.cache_mode, new.cpu_type, new.copies) != (old.cache_mode, old.cpu_type, old.copies):
        raise Refusal("DCS.4102", reason=f"{old.spec_code} cannot become {new.spec_code}")
    shards = {node.shard for node in instances.nodes_of(connection, instance.id)}
    if (new.shards, new.shard_mb) == (old.shards, old.shard_mb) == (len(shards), old.shard_mb):
        raise Refusal("DCS.4103", reason=f"the instance is {old.spec_code} already")
    return old, new


def _resize_params(new: Flavor) -> dict[str, Any]:
    return {"spec_code": new.spec_code, "new_capacity": new.capacity_gb}


def _resize_details(old: Flavor, new: Flavor) -> dict[str, Any]:
    return {
        "old_capacity": old.capacity_gb,
        "new_capacity": new.capacity_gb,
        "old_resource_spec_code": old.spec_code,
        "new_resource_spec_code": new.spec_code,
        "old_cache_mode": old.cache_mode,
        "new_cache_mode": new.cache_mode,
        "old_replica_num": old.copies,
        "new_replica_num": new.copies,
    }


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
