"""Scaling a cluster out or in, and changing the size of its shards or the number of their replicas, while it serves
clients.

A resize is observed, decided and formatted in this order: `observation` fetches what the plan depends on, `plan`
decides the changes, `steps` formats them as steps. This module stores the new nodes, and cleans up the cluster after a
failure.
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress

import msgspec
import sqlalchemy as sa

from cachewright import errors
from cachewright.errors import ApiError
from cachewright.flavors import MEGABYTE, parse
from cachewright.hosts.addresses import LOOPBACK, is_loopback
from cachewright.hosts.ports import NodePorts
from cachewright.hosts.server_binary import version_key
from cachewright.model.instances import Instance, Node, has_proxy
from cachewright.model.tasks import DEFAULT_MODE, ENDED, Control, MigrationMode, Step, Task
from cachewright.operations import node_placement
from cachewright.operations.actions import checks, slots
from cachewright.operations.actions.instance_type import complete_change_of_type
from cachewright.operations.actions.nodes import remove_node
from cachewright.operations.context import OperationContext, best_view
from cachewright.operations.ending_node import grace_seconds, hand_over_seconds
from cachewright.operations.operation import Accepted, Operation
from cachewright.operations.requests import ResizeRequest
from cachewright.operations.resize import mode_forecast
from cachewright.operations.resize import request as resize_request
from cachewright.operations.resize.cost_model import MOVE
from cachewright.operations.resize.giant_keys import GiantKeys, find_giant_keys
from cachewright.operations.resize.mode_forecast import ModeForecast
from cachewright.operations.resize.observation import observe
from cachewright.operations.resize.plan import (
    Observation,
    ResizePlan,
    decide,
    replicas_to_add,
    shards_to_add,
    unused_nodes,
)
from cachewright.operations.resize.request import RESIZE_KIND, ResizeParams
from cachewright.operations.resize.small_shares import store_small_shares
from cachewright.operations.resize.steps import steps
from cachewright.operations.slot_moves import failover_delay
from cachewright.operations.slot_moves.leaked_children import end_leaked_children
from cachewright.operations.step_names import POST_CHECK, PRE_CHECK
from cachewright.placement.capacity import Request as RoomRequest
from cachewright.placement.port_reservation import reserve
from cachewright.store import instances, task_controls, tasks
from cachewright.tasks import learning
from cachewright.tasks.operation import ActionFailed, cancellation
from cachewright.tasks.progress import planned_seconds
from cachewright.topologies import layout, topology_of
from cachewright.valkey import cluster_membership
from cachewright.valkey.access import Access
from cachewright.valkey.client import NODE_GONE, NodeRefused
from cachewright.valkey.migration import jobs
from cachewright.valkey.migration.failure import MigrationFailed
from cachewright.valkey.migration.node_settings import reset
from cachewright.valkey.migration.open_slots import close_unused_imports, complete_open_slots
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
    """

    steps: tuple[Step, ...]
    seconds: float
    blockers: tuple[tuple[str, str], ...]
    giant_keys: GiantKeys
    mode: MigrationMode
    modes: tuple[ModeForecast, ...]


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
        instance, nodes, views = await context.look(task)
        access = context.access(instance)
        await asyncio.gather(*(jobs.cancel_exports(node, access) for node in nodes))
        await _complete_open_slots(context, nodes, views, access)
        _, plan, planned = await self._draft(context, task)
        context.migrations.begin_batch_shares(task.instance_id)
        await asyncio.to_thread(_store, context, task, plan.added)
        return planned

    async def preview(self, context: OperationContext, task: Task, mode: MigrationMode = DEFAULT_MODE) -> Preview:
        """The plan that `plan` would make now, and the failures of its checks. Stores and changes nothing. ActionFailed
        DCS.9004 if no node responds; NODE_GONE or NodeRefused if a primary does not."""
        observed, plan, planned = await self._draft(context, task, mode)
        minimum_bytes = context.settings.giant_key_mb * MEGABYTE
        giants = await find_giant_keys(plan.moves, observed.nodes, context.access(observed.instance), minimum_bytes)
        resources = await asyncio.to_thread(context.host.resources)
        failures = [
            *checks.resource_failures(plan.requirements, resources),
            *checks.status_failures(observed.nodes, observed.views),
        ]
        blockers = tuple((failure.code, failure.message) for failure in failures)
        speeds = await asyncio.to_thread(_speeds, context, planned, task.instance_id)
        planned = learning.with_speeds(planned, speeds)
        forecasts = mode_forecast.modes(plan, observed.loads, observed.host, planned, speeds)
        return Preview(planned, planned_seconds(planned), blockers, giants, mode, forecasts)

    async def preview_steps(self, context: OperationContext, task: Task) -> tuple[Step, ...]:
        """Return the steps that `plan` would make now. Raises like `preview`. Stores and changes nothing."""
        _, _, planned = await self._draft(context, task)
        return planned

    async def _draft(
        self, context: OperationContext, task: Task, mode: MigrationMode | None = None
    ) -> tuple[Observation, ResizePlan, tuple[Step, ...]]:
        """:param mode: instead of the mode of the task."""
        observed = await observe(context, task)
        if mode:
            observed = msgspec.structs.replace(observed, host=msgspec.structs.replace(observed.host, mode=mode))
        plan = self._decide(context, task, observed)
        changed = plan.kept if plan.now.cache_mode != plan.to.cache_mode else ()
        grace = await grace_seconds(context, observed.instance, {*plan.removed, *plan.surplus, *changed})
        leads = [node for node in observed.primaries.values() if node in plan.surplus]
        for node_id, seconds in (await hand_over_seconds(context, observed.instance, leads)).items():
            grace[node_id] += seconds
        return observed, plan, steps(task.run_id, plan, observed, grace)

    async def recover(self, context: OperationContext, task: Task) -> None:
        """Cancel all migrations, complete open slots and remove new nodes without slots. New shards with slots stay,
        and so do old nodes that are not removed yet. A new replica of an old shard stays only if it has become its
        primary."""
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
        instances.remove_nodes(connection, [node.id for node in nodes if layout.has_salt(node, task.run_id)])

    def succeeded(self, context: OperationContext, connection: sa.Connection, task: Task) -> None:
        """Record the new spec code, and what was learned of clients."""
        instances.change(connection, task.instance_id, spec_code=self.params_of(task).spec_code)
        mode_forecast.store_waits(connection, context.migrations.waits)
        if task_controls.get(connection, task.id).mode != "fastest":
            store_small_shares(connection, task.instance_id, context.migrations)

    def is_typical(self, task: Task, control: Control) -> bool:
        """A task whose mode has changed moved its slots in two ways."""
        moves = [sub for step in task.steps for sub in step.sub_steps if sub.action == MOVE]
        planned = {slots.move_slots.decode(move.arguments).mode for move in moves}
        return super().is_typical(task, control) and planned <= {control.mode}

    def _decide(self, context: OperationContext, task: Task, observed: Observation) -> ResizePlan:
        params = self.params_of(task)
        flavor, named, settings, salt = parse(params.spec_code), params.named, context.settings, task.run_id
        copies, shards = replicas_to_add(observed, flavor, salt, named), shards_to_add(observed, flavor)
        versions = {node.server_version for node in observed.nodes if node.server_version}
        newest = max(versions, key=version_key, default=None)
        instance_id = task.instance_id
        added = [
            *layout.new_replicas(settings, instance_id, flavor, copies, salt=salt, server_version=newest),
            *layout.new_nodes(settings, instance_id, flavor, shards=shards, salt=salt, server_version=newest),
        ]
        return decide(observed, flavor, added, named)


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


def _store(context: OperationContext, task: Task, added: Sequence[Node]) -> None:
    """Store new nodes with hosts and free ports, before any of them starts. Nodes that an earlier plan of this run has
    stored keep theirs. ActionFailed DCS.4036 if no host has room, DCS.4039 if too few ports are free, DCS.9005 if the
    task has been cancelled."""
    limits = node_placement.limits(context.host, context.settings)
    with context.database.read() as connection:
        stored = {node.id: node for node in instances.nodes_of(connection, task.instance_id)}
        instance = instances.get(connection, task.project_id, task.instance_id)
        missing = [node for node in added if node.id not in stored]
        if not missing:
            return
        if instance is None:
            raise tasks.StaleTask(task.id)
        zones = instance.attributes.get("az_codes", ())
        try:
            present, topology = list(stored.values()), topology_of(task.params.get("spec_code", instance.spec_code))
            behind_proxy = has_proxy(instance, present) or (topology.has_sentinel and context.host.has_haproxy)
            only = node_placement.hosts_of(topology, here=behind_proxy or instance.server_certificate is not None)
            # On one host nothing is spread, and nodes behind its proxy have another address than the host.
            others = present if only is None else ()
            placed = node_placement.place(connection, limits, missing, zones, others, only=only)
        except ApiError as refused:
            raise ActionFailed(refused.code, refused.message, True) from refused
    tls = any(node.tls_port for node in stored.values())
    own_address = {node.host_name: node.host for node in stored.values()}
    addresses = [own_address.get(node.host_name, node.host) for node in placed]
    gets_proxy = topology.has_sentinel and not topology_of(instance.spec_code).has_sentinel and behind_proxy
    if gets_proxy:  # its node moves to loopback, too
        addresses = [address if is_loopback(address) else LOOPBACK for address in addresses]
    avoid = {port for node in stored.values() for port in node.ports}

    def add(connection: sa.Connection, ports: Sequence[NodePorts]) -> None:
        _require_unfinished(connection, task)
        node_placement.require_fit(connection, limits, placed)
        client_tls = any(node.client_tls for node in stored.values())
        added = [msgspec.structs.replace(node, client_tls=client_tls) for node in layout.placed(placed, ports)]
        instances.add_nodes(connection, added)

    try:
        reserve(context.database, context.host, context.settings, addresses, add, tls=tls, avoid=avoid)
    except ApiError as refused:
        raise ActionFailed(refused.code, refused.message, True) from refused


def _require_unfinished(connection: sa.Connection, task: Task) -> None:
    """Raise ActionFailed DCS.9005 if the task has been cancelled, and StaleTask if its run has ended otherwise. Nobody
    would remove new nodes then."""
    control, current = task_controls.get(connection, task.id), tasks.get(connection, task.instance_id, task.id)
    if control.is_cancelled:
        raise cancellation(control)
    if current is None or current.status in ENDED or current.run_id != task.run_id:
        raise tasks.StaleTask(task.id)


RESIZE = Resize()
