"""Minor version upgrade: the nodes of an instance restart, one after another, with another configured valkey-server.

The order is that of a restart: replicas of a shard first, then its primary, which hands over before it ends. A node
that does not come up returns to the version that it had, and the task fails; nodes that run the new version keep it.
"""

import asyncio
from collections.abc import Collection, Mapping, Sequence

import msgspec

from cachewright import errors
from cachewright.errors import ApiError
from cachewright.hosts.host import NodeStartFailed
from cachewright.hosts.server_binary import version_key
from cachewright.model.instances import Instance, Node
from cachewright.model.tasks import Step, Task
from cachewright.operations.actions.upgrade import UpgradeNode, roll_back, upgrade_node
from cachewright.operations.context import OperationContext
from cachewright.operations.operation import Accepted, Operation
from cachewright.operations.restart import SECONDS_OF_SHARD, nodes_to_restart
from cachewright.operations.step_names import POST_CHECK, PRE_CHECK
from cachewright.tasks.operation import ActionFailed
from cachewright.tasks.plan import build
from cachewright.topologies.topology import status_check
from cachewright.valkey import node_control

_PARAMETER = "engine_minor_version"


class UpgradeRequest(msgspec.Struct, frozen=True, kw_only=True):
    """:ivar version: the requested version, or `latest` for the newest configured one.
    :ivar configured: versions that the host can run.
    :ivar running: version that each node runs, by node id; None for a node that does not answer.
    :ivar in_window: begin in the maintenance window.
    """

    version: str
    configured: Sequence[str]
    running: Mapping[str, str | None]
    in_window: bool = False


class UpgradeParams(msgspec.Struct, frozen=True):
    engine_minor_version: str


class Upgrade(Operation[UpgradeRequest, UpgradeParams]):
    kind = "upgrade"
    name = "UpgradeInstanceMinorVersion"
    permission = "dcs:instance:modify"
    params = UpgradeParams
    outline = (PRE_CHECK, "Node upgrade.", POST_CHECK)
    busy = errors.INSTANCE_UPGRADING
    status_while_running = "UPGRADING"

    def validate(self, instance: Instance, nodes: Sequence[Node], request: UpgradeRequest) -> Accepted[UpgradeParams]:
        """ApiError DCS.4049 if a node does not answer, DCS.4053 if all run the version, DCS.4062 if the host has no
        such server, a node runs a newer one, or a node could not return to its own."""
        version = newest(request.configured) if request.version == "latest" else request.version
        _require_configured(version, request.configured)
        if silent := sorted(node_id for node_id, running in request.running.items() if running is None):
            raise ApiError(errors.INSTANCE_NOT_RUNNING, reason=f"node {silent[0]} does not answer")
        present = {running for running in request.running.values() if running}
        if present == {version}:
            raise ApiError(errors.SAME_VERSION, version=version)
        _require_way_back(version, present, request.configured)
        return Accepted(UpgradeParams(version), {_PARAMETER: version}, in_window=request.in_window)

    def expected_seconds(self, task: Task, nodes: Sequence[Node], dataset: int) -> float:
        return SECONDS_OF_SHARD * len({node.shard for node in nodes})

    async def plan(self, context: OperationContext, task: Task) -> tuple[Step, ...]:
        """Nodes that run the version already, after a retry, are left out. ActionFailed DCS.4062 if the host has lost
        one of the servers since the request, or a node runs a newer one."""
        version = self.params_of(task).engine_minor_version
        running = await _running(context, task)
        configured = await asyncio.to_thread(context.host.server_versions)
        try:
            _require_configured(version, configured)
            _require_way_back(version, set(running.values()), configured)
        except ApiError as refused:
            raise ActionFailed(refused.code, refused.message, True) from refused
        upgrades = [
            upgrade_node.sub_step(f"Node upgrade. {node.place}", node.work, UpgradeNode(node.id, version))
            for node in await nodes_to_restart(context, task)
            if running[node.id] != version
        ]
        check = status_check()
        return build(task.run_id, {PRE_CHECK: [check], "Node upgrade.": upgrades, POST_CHECK: [check]})

    async def recover(self, context: OperationContext, task: Task) -> None:
        """Return nodes that were restarted and do not answer to their recorded version. ActionFailed DCS.9001 if one
        does not start."""
        instance, nodes = await context.instance_and_nodes(task)
        views = await context.views(instance, nodes, needed="none")
        begun = {
            sub.arguments["node_id"]: (sub.begin_time or 0) / 1000
            for step in task.steps
            for sub in step.sub_steps
            if sub.action == upgrade_node.name and sub.begin_time and sub.status != "FINISH"
        }
        failed = []
        for node in nodes:
            if node.should_run and node.id in begun and views[node.id] is None:
                process = await context.host.process(node.id)
                if process is None or process.started_at >= begun[node.id]:
                    failed.append(node)
        try:
            await asyncio.gather(*(roll_back(context, instance, node) for node in failed))
        except NodeStartFailed as failure:
            raise ActionFailed(errors.NODE_START_FAILED, f"a node does not start again: {failure}") from failure


def newest(versions: Collection[str]) -> str:
    """Return the newest of these versions; empty if there is none."""
    return max(versions, key=version_key, default="")


async def _running(context: OperationContext, task: Task) -> dict[str, str]:
    """Return the version that each node runs, by node id. Raises one of NODE_GONE or NodeRefused."""
    instance, nodes = await context.instance_and_nodes(task)
    access = context.access(instance)
    versions = await asyncio.gather(*(node_control.server_version(node, access) for node in nodes))
    return {node.id: version for node, version in zip(nodes, versions, strict=True)}


def _require_configured(version: str, configured: Sequence[str]) -> None:
    if version not in configured:
        raise _invalid(f"this host has {', '.join(configured)}; add a server with --other-valkey-binary")


def _require_way_back(version: str, present: Collection[str], configured: Collection[str]) -> None:
    """ApiError if a node runs a newer version, or one that it could not return to."""
    if version_key(newest(present)) > version_key(version):
        raise _invalid(f"a node runs {newest(present)}, which is newer")
    if missing := sorted(set(present) - set(configured)):
        raise _invalid(
            f"nodes run {missing[0]}, to which they could not return: configure that server too, with "
            "--other-valkey-binary, or restart the instance"
        )


def _invalid(reason: str) -> ApiError:
    return ApiError(errors.INVALID_PARAMETER, parameter=_PARAMETER, reason=reason)


UPGRADE = Upgrade()
