"""Scaling a cluster out or in, and changing the size of its shards or the number of their replicas, while it serves
clients.

A resize is observed, decided and formatted in this order: `observation` fetches what the plan depends on, `plan`
decides the changes, `steps` formats them as steps. `added_nodes` stores the new nodes. This module cleans up after a
failure.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress

import msgspec
import sqlalchemy as sa

from cachewright import errors
from cachewright.flavors import MEGABYTE, parse
from cachewright.model.instances import Instance, Node
from cachewright.model.tasks import DEFAULT_MODE, Control, MigrationMode, Step, Task
from cachewright.operations.actions import checks, slots
from cachewright.operations.actions.cluster_type import settle_type
from cachewright.operations.actions.instance_type import complete_change_of_type
from cachewright.operations.actions.nodes import remove_node
from cachewright.operations.context import OperationContext, best_view
from cachewright.operations.ending_node import grace_seconds, hand_over_seconds
from cachewright.operations.operation import Accepted, Operation
from cachewright.operations.requests import ResizeRequest
from cachewright.operations.resize import added_nodes, mode_forecast
from cachewright.operations.resize import request as resize_request
from cachewright.operations.resize.added_nodes import newest_version
from cachewright.operations.resize.cost_model import MOVE
from cachewright.operations.resize.giant_keys import GiantKeys, find_giant_keys
from cachewright.operations.resize.mode_forecast import ModeForecast
from cachewright.operations.resize.new_cluster import NewCluster, after_first, plan_first
from cachewright.operations.resize.observation import observe, observe_keyspace
from cachewright.operations.resize.plan import (
    Observation,
    ResizePlan,
    decide,
    replicas_to_add,
    shards_to_add,
    unused_nodes,
)
from cachewright.operations.resize.request import RESIZE_KIND, ResizeParams
from cachewright.operations.resize.small_batches import store_small_batches, store_small_shares
from cachewright.operations.resize.steps import steps
from cachewright.operations.slot_moves import failover_delay
from cachewright.operations.slot_moves.leaked_children import end_leaked_children
from cachewright.operations.step_names import POST_CHECK, PRE_CHECK
from cachewright.placement.capacity import Request as RoomRequest
from cachewright.store import instances, task_controls
from cachewright.tasks import learning
from cachewright.tasks.operation import ActionFailed
from cachewright.tasks.plan import with_planning
from cachewright.tasks.progress import planned_seconds
from cachewright.topologies import becomes_cluster, layout, topology_of
from cachewright.valkey import cluster_membership
from cachewright.valkey.access import Access
from cachewright.valkey.client import NODE_GONE, NodeRefused
from cachewright.valkey.last_writes import keys_of, other_databases
from cachewright.valkey.migration import jobs
from cachewright.valkey.migration.failure import MigrationFailed
from cachewright.valkey.migration.node_settings import reset
from cachewright.valkey.migration.open_slots import close_unused_imports, complete_open_slots
from cachewright.valkey.node_load import saved_search_seconds
from cachewright.valkey.topology import View

_CANCEL_SECONDS = 10.0


class Preview(msgspec.Struct, frozen=True):
    """Preview of a resize.

    :ivar steps: the plan.
    :ivar seconds: its expected duration.
    :ivar blockers: error codes and reasons for which it would fail.
    :ivar giant_keys: keys with large values in the slots that move.
    :ivar mode: the mode of the plan.
    :ivar modes: a forecast of each mode.
    :ivar clients: whether clients are connected to a node whose slots move. Without them all modes move alike.
    """

    steps: tuple[Step, ...]
    seconds: float
    blockers: tuple[tuple[str, str], ...]
    giant_keys: GiantKeys
    mode: MigrationMode
    modes: tuple[ModeForecast, ...]
    clients: bool


class _Draft(msgspec.Struct, frozen=True):
    """A plan in the making.

    :ivar present: what was observed; :ivar observed: the same, or what will be observed after `change`.
    :ivar change: makes the instance a cluster.
    :ivar other_databases: why its databases make that impossible.
    """

    present: Observation
    observed: Observation
    plan: ResizePlan
    steps: tuple[Step, ...]
    change: NewCluster | None
    other_databases: str | None

    @property
    def added(self) -> list[Node]:
        return [*([self.change.first] if self.change else ()), *self.plan.added]


class Resize(Operation[ResizeRequest, ResizeParams]):
    kind = RESIZE_KIND
    name = "EXTEND"
    permission = "dcs:instance:scale"
    params = ResizeParams
    outline = (PRE_CHECK, "Data migration.", POST_CHECK)
    busy = errors.INSTANCE_RESIZING
    reserves_room = True
    needs_every_node = True
    status_while_running = "EXTENDING"

    def validate(self, instance: Instance, nodes: Sequence[Node], request: ResizeRequest) -> Accepted[ResizeParams]:
        return resize_request.validate(instance, nodes, request)

    def required_room(self, nodes: Sequence[Node], params: ResizeParams, dataset: int | None) -> RoomRequest:
        return resize_request.required_room(nodes, params, dataset)

    def expected_seconds(self, task: Task, nodes: Sequence[Node], dataset: int) -> float:
        return resize_request.expected_seconds(task.steps, nodes, self.params_of(task), dataset)

    async def plan(self, context: OperationContext, task: Task) -> tuple[Step, ...]:
        # An earlier task could not cancel its migrations if a node was busy, nor complete open slots if their target
        # did not answer. A shard to be removed may have keys of them.
        await settle_type(context, task)
        instance, nodes, views = await context.look(task)
        access = context.access(instance)
        await asyncio.gather(*(jobs.cancel_exports(node, access) for node in nodes))
        await _complete_open_slots(context, nodes, views, access)
        draft = await self._draft(context, task)
        context.migrations.begin_task(task.instance_id)
        await asyncio.to_thread(added_nodes.store, context, task, draft.added)
        return draft.steps

    async def preview(self, context: OperationContext, task: Task, mode: MigrationMode = DEFAULT_MODE) -> Preview:
        """The plan that `plan` would make now, and the failures of its checks. Stores and changes nothing. ActionFailed
        DCS.9004 if no node responds; NODE_GONE or NodeRefused if a primary does not."""
        draft, seconds = await self._timed_draft(context, task, mode)
        minimum_bytes = context.settings.giant_key_mb * MEGABYTE
        if draft.change:  # only nodes of a cluster list keys by slot
            giants = GiantKeys(keys=(), minimum_bytes=minimum_bytes, complete=False)
        else:
            access = context.access(draft.observed.instance)
            giants = await find_giant_keys(draft.plan.moves, draft.present.nodes, access, minimum_bytes)
            if any(load.child for load in draft.observed.loads.values()):
                # The search took seconds, in which the child processes of the plan have worked or ended.
                draft, seconds = await self._timed_draft(context, task, mode)
        present, observed, plan = draft.present, draft.observed, draft.plan
        planned = with_planning(draft.steps, round(seconds * 1000))
        failures = [*await _final_failures(context, draft), *checks.status_failures(present.nodes, present.views)]
        blockers = tuple((failure.code, failure.message) for failure in failures)
        speeds = await asyncio.to_thread(_speeds, context, planned, task.instance_id)
        planned = learning.with_speeds(planned, speeds)
        forecasts = mode_forecast.modes(plan, observed.loads, observed.host, planned, speeds)
        clients = any(observed.loads[move.source].clients for move in plan.moves)
        return Preview(planned, planned_seconds(planned), blockers, giants, mode, forecasts, clients)

    async def final_failures(self, context: OperationContext, task: Task) -> list[ActionFailed]:
        """Return the failures of the first checks that no later attempt avoids, as they are now. Raises like `preview`.
        Stores and changes nothing."""
        return await _final_failures(context, await self._draft(context, task))

    async def preview_steps(self, context: OperationContext, task: Task) -> tuple[Step, ...]:
        """Return the steps that `plan` would make now. Raises like `preview`. Stores and changes nothing."""
        return (await self._draft(context, task)).steps

    async def _timed_draft(self, context: OperationContext, task: Task, mode: MigrationMode) -> tuple[_Draft, float]:
        """A draft, and the seconds that the task will take to make it again."""
        began = time.monotonic()
        draft = await self._draft(context, task, mode)
        return draft, time.monotonic() - began - saved_search_seconds(draft.observed.loads.values())

    async def _draft(self, context: OperationContext, task: Task, mode: MigrationMode | None = None) -> _Draft:
        """:param mode: instead of the mode of the task."""
        observed, change = await observe(context, task), None
        if mode:
            observed = msgspec.structs.replace(observed, host=msgspec.structs.replace(observed.host, mode=mode))
        other: str | None = None
        to, present = parse(self.params_of(task).spec_code), observed
        if becomes_cluster(observed.instance.spec_code, to.spec_code):
            if reason := resize_request.kept_by_no_cluster(observed.instance, observed.nodes):
                raise ActionFailed(errors.UNSUPPORTED_RESIZE, reason, True)
            keyspace = await observe_keyspace(context, observed)
            other = other_databases(keyspace)
            change = plan_first(context.settings, observed, to, task.run_id, newest_version(observed.nodes))
            observed = after_first(observed, change, keys_of(keyspace))
        plan = self._decide(context, task, observed)
        if change:
            plan = msgspec.structs.replace(plan, requirements=change.with_room(plan.requirements))
        changed = plan.kept if plan.now.cache_mode != plan.to.cache_mode else ()
        ending = set() if change else {*plan.removed, *plan.surplus, *changed}
        grace = await grace_seconds(context, observed.instance, ending)
        leads = [node for node in observed.primaries.values() if node in plan.surplus]
        for node_id, seconds in (await hand_over_seconds(context, observed.instance, leads)).items():
            grace[node_id] += seconds
        planned = steps(task.run_id, plan, observed, grace, change)
        return _Draft(present, observed, plan, planned, change, other)

    async def recover(self, context: OperationContext, task: Task) -> None:
        """Cancel all migrations, complete open slots and remove new nodes without slots. New shards with slots stay,
        and so do old nodes that are not removed yet. A new replica of an old shard stays only if it has become its
        primary. A change to a cluster is undone, unless it is recorded."""
        await settle_type(context, task)
        instance, nodes, views = await context.look(task)
        access = context.access(instance)
        async with asyncio.timeout(_CANCEL_SECONDS):
            await asyncio.gather(*(jobs.cancel_exports(node, access) for node in nodes))
            await asyncio.gather(*(end_leaked_children(context, node, access) for node in nodes))
        await failover_delay.restore([node for node in nodes if node.should_run], access)
        for node in nodes:
            context.migrations.forget(node.id)
        await asyncio.gather(*(reset(node, access) for node in nodes))
        if await _complete_open_slots(context, nodes, views, access):
            instance, nodes, views = await context.look(task)
        members = best_view(views).members
        # A plan that was interrupted has stored nodes, and no steps.
        added = {node.id for node in nodes if layout.has_salt(node, task.run_id)}
        unused = unused_nodes(nodes, added, members)
        for node in unused:
            for other in nodes if topology_of(instance.spec_code).is_cluster else []:
                if other not in unused:
                    with suppress(*NODE_GONE, NodeRefused):
                        await cluster_membership.forget(other, node.id, access)
            await remove_node(context, node)
        for node in nodes:
            if node not in unused and not node.should_run:  # it stays a member, although its release had begun
                await context.change_node(node.id, should_run=True)
        await complete_change_of_type(context, task)

    def withdrawn(self, connection: sa.Connection, task: Task) -> None:
        """Remove new nodes, which have never run."""
        nodes = instances.nodes_of(connection, task.instance_id)
        added = [node for node in nodes if layout.has_salt(node, task.run_id)]
        added += instances.apart_of(connection, task.instance_id)
        instances.remove_nodes(connection, [node.id for node in added])

    def succeeded(self, context: OperationContext, connection: sa.Connection, task: Task) -> None:
        """Record the new spec code, and what was learned of clients."""
        instances.change(connection, task.instance_id, spec_code=self.params_of(task).spec_code)
        mode_forecast.store_waits(connection, context.migrations.waits)
        if task_controls.get(connection, task.id).mode != "fastest":
            store_small_shares(connection, task.instance_id, context.migrations)
            store_small_batches(connection, task.instance_id, context.migrations)

    def is_typical(self, task: Task, control: Control) -> bool:
        """A task whose mode has changed moved its slots in two ways."""
        moves = [sub for step in task.steps for sub in step.sub_steps if sub.action == MOVE]
        planned = {slots.move_slots.decode(move.arguments).mode for move in moves}
        return super().is_typical(task, control) and planned <= {control.mode}

    def _decide(self, context: OperationContext, task: Task, observed: Observation) -> ResizePlan:
        params = self.params_of(task)
        flavor, named, settings, salt = parse(params.spec_code), params.named, context.settings, task.run_id
        copies, shards = replicas_to_add(observed, flavor, salt, named), shards_to_add(observed, flavor)
        newest = newest_version(observed.nodes)
        instance_id = task.instance_id
        added = [
            *layout.new_replicas(settings, instance_id, flavor, copies, salt=salt, server_version=newest),
            *layout.new_nodes(settings, instance_id, flavor, shards=shards, salt=salt, server_version=newest),
        ]
        return decide(observed, flavor, added, named)


async def _final_failures(context: OperationContext, draft: _Draft) -> list[ActionFailed]:
    resources = await asyncio.to_thread(context.host.resources)
    failures = list(checks.resource_failures(draft.plan.requirements, resources))
    if draft.other_databases:
        failures.append(ActionFailed(errors.UNSUPPORTED_RESIZE, draft.other_databases, True))
    return failures


def _speeds(context: OperationContext, steps: Sequence[Step], instance_id: str) -> Mapping[str, learning.Speed]:
    with context.database.read() as connection:
        return learning.load(connection, steps, instance_id)


async def _complete_open_slots(
    context: OperationContext, nodes: Sequence[Node], views: Mapping[str, View | None], access: Access
) -> bool:
    """Complete slots that an interrupted move has left open. Return whether there were any. ActionFailed DCS.9003 if
    their target does not answer."""
    primary_of = slots.current_primary(nodes, views)
    completed = 0
    for node in nodes:
        if view := views[node.id]:
            try:
                completed += await complete_open_slots(node, view, primary_of, access, context.migrations)
            except MigrationFailed as failure:
                raise ActionFailed(errors.MIGRATION_INTERRUPTED, str(failure)) from failure
            await close_unused_imports(node, view, views, access)
    return completed > 0


RESIZE = Resize()
