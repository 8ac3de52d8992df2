"""Scaling a cluster out or in, and changing the size of its shards, while it serves clients.

A resize is observed, decided and formatted in this order: `resize_observation` fetches what the plan depends on,
`resize_plan` decides what changes, `resize_steps` writes that down as steps. Here the new nodes are stored, and the
cluster is cleaned up after a failure.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

import msgspec
import sqlalchemy as sa

from cachewright.errors import ApiError
from cachewright.flavors import Flavor, parse
from cachewright.hosts.ports import NodePorts
from cachewright.model.instances import Instance, Node
from cachewright.model.tasks import Control, Step, Task
from cachewright.operations import admission
from cachewright.operations.actions import checks
from cachewright.operations.actions.nodes import remove_node
from cachewright.operations.context import best_view
from cachewright.operations.kinds import RESIZE
from cachewright.operations.operation import InstanceOperation, answering
from cachewright.operations.resize_estimate import MOVE, PACE, learned
from cachewright.operations.resize_observation import observe
from cachewright.operations.resize_plan import Observation, ResizePlan, decide, shards_to_add
from cachewright.operations.resize_steps import steps
from cachewright.placement.capacity import Shortage
from cachewright.placement.port_reservation import reserve
from cachewright.store import instances, task_controls, throughput
from cachewright.tasks.operation import ActionFailed
from cachewright.tasks.progress import planned_seconds
from cachewright.topologies import layout
from cachewright.valkey import cluster_membership
from cachewright.valkey.client import NODE_GONE, NodeRefused
from cachewright.valkey.migration import jobs

_CANCEL_SECONDS = 10.0


class Preview(msgspec.Struct, frozen=True):
    """The steps of a resize that is not started, their duration, and what would make it fail: `blockers` are error
    codes and reasons."""

    steps: tuple[Step, ...]
    seconds: float
    blockers: tuple[tuple[str, str], ...]


class Resize(InstanceOperation):
    kind = RESIZE

    async def plan(self, task: Task) -> tuple[Step, ...]:
        with answering():
            observed = await observe(self.site, task)
        plan = self._decide(task, observed)
        await asyncio.to_thread(self._store, task, plan.added)
        return steps(task.run_id, plan, observed.loads, observed.speed)

    async def preview(self, task: Task) -> Preview:
        """The plan that `plan` would make now, and what it would fail on. Stores and changes nothing. ActionFailed
        DCS.9004 where nodes do not answer."""
        with answering():
            observed = await observe(self.site, task)
        plan = self._decide(task, observed)
        planned = steps(task.run_id, plan, observed.loads, observed.speed)
        blockers = await asyncio.to_thread(self._blockers, observed, plan, parse(task.params["spec_code"]))
        return Preview(planned, planned_seconds(planned), tuple(blockers))

    async def recover(self, task: Task) -> None:
        """No migration goes on, and new nodes that got no slots are taken away again; those that got some stay."""
        instance, nodes, seen = await self.site.look(task)
        access = self.site.access(instance)
        async with asyncio.timeout(_CANCEL_SECONDS):
            await asyncio.gather(*(jobs.cancel_exports(node, access) for node in nodes))
        for node in nodes:
            self.site.migrations.forget(node.id)
        view = best_view(seen)
        drafts = [sub for step in task.steps for sub in step.sub_steps if sub.action == "start node"]
        new_ids = {sub.arguments["node_id"] for sub in drafts}
        useful = {node.shard for node in nodes if view.members.get(node.id) and view.members[node.id].slots}
        useless = [node for node in nodes if node.id in new_ids and node.shard not in useful]
        for node in useless:
            for other in nodes:
                if other not in useless:
                    with suppress(*NODE_GONE, NodeRefused):
                        await cluster_membership.forget(other, node.id, access)
            await remove_node(self.site, node)

    def succeeded(self, connection: sa.Connection, task: Task) -> None:
        instances.change(connection, task.instance_id, spec_code=task.params["spec_code"])
        if task_controls.get(connection, task.id) != Control():
            return  # as fast as its owner wanted it, which tells nothing of others
        moving = [step for step in task.steps if any(sub.action == MOVE for sub in step.sub_steps)]
        if moving and (pace := learned(moving[-1], self.site.migrations.concurrency)):
            throughput.learn(connection, PACE, pace)

    def _decide(self, task: Task, observed: Observation) -> ResizePlan:
        flavor = parse(task.params["spec_code"])
        shards = shards_to_add(observed, flavor)
        added = layout.new_nodes(self.site.settings, task.instance_id, flavor, shards=shards, salt=task.run_id)
        return decide(observed, flavor, added)

    def _store(self, task: Task, added: Sequence[Node]) -> None:
        """Stores new nodes with free ports, before any of them starts; those that an earlier plan of this run has
        stored keep theirs. ActionFailed DCS.4039 where there are not enough ports."""
        with self.site.database.read() as connection:
            stored = {node.id: node for node in instances.nodes_of(connection, task.instance_id)}
        missing = [node for node in added if node.id not in stored]
        if not missing:
            return
        tls = any(node.tls_port for node in stored.values())

        def add(connection: sa.Connection, ports: Sequence[NodePorts]) -> None:
            instances.add_nodes(connection, layout.placed(missing, ports))

        try:
            site = self.site
            reserve(site.database, site.host, site.settings, len(missing), add, tls=tls)
        except ApiError as refused:
            raise ActionFailed(refused.code, refused.message, True) from refused

    def _blockers(self, observed: Observation, plan: ResizePlan, flavor: Flavor) -> list[tuple[str, str]]:
        """What the request would be refused for, then what the checks of the plan would fail on."""
        shortages = self._shortages(observed.instance, flavor)
        failures = [
            *checks.resource_failures(plan.requirements, self.site.host.resources()),
            *checks.status_failures(observed.nodes, observed.views),
        ]
        blockers = [(shortage.code, shortage.reason) for shortage in shortages]
        return blockers + [(failure.code, failure.message) for failure in failures]

    def _shortages(self, instance: Instance, flavor: Flavor) -> list[Shortage]:
        """The disk is left out: the plan's own requirements name the bytes that move."""
        limits = admission.limits(self.site.host, self.site.settings)
        with self.site.database.read() as connection:
            request = admission.resizing(instances.nodes_of(connection, instance.id), flavor)
            return admission.shortages(connection, limits, instance.project_id, request, instance)
