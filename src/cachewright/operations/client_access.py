"""How clients connect to an instance: with TLS, and from which addresses.

Nodes of a cluster terminate TLS themselves, and restart for it; rules of nftables filter their clients by address. The
proxy of another instance does both. The record says what proxy and rules should do, and changes first, so that
`ProxyWatch`, `FirewallWatch` and a task that is repeated after a crash agree. A single instance gets its proxy with the
first of these settings, and keeps it: its node leaves the address, and the proxy takes it over.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

import msgspec
import sqlalchemy as sa

from cachewright import errors
from cachewright.errors import ApiError
from cachewright.hosts.addresses import is_loopback
from cachewright.hosts.host import NodeStartFailed
from cachewright.model.instances import (
    WHITELIST_ENABLED,
    Instance,
    Node,
    allowed_addresses,
    has_proxy,
    node_elsewhere,
)
from cachewright.model.tasks import Step, Task
from cachewright.operations import client_firewall, proxies
from cachewright.operations.actions.action import NoArguments
from cachewright.operations.actions.client_access import (
    NodeSwitch,
    Switch,
    apply_whitelist,
    move_port,
    record_tls,
    return_nodes,
    switch_node_tls,
    switch_tls,
)
from cachewright.operations.context import OperationContext
from cachewright.operations.operation import Accepted, Operation, ParamsT, RequestT
from cachewright.operations.restart import SECONDS_OF_SHARD, nodes_to_restart
from cachewright.operations.step_names import NODE_RESTART, POST_CHECK, PRE_CHECK
from cachewright.store import instances
from cachewright.tasks.operation import ActionFailed
from cachewright.tasks.plan import SubStepSpec, build, effort
from cachewright.topologies import topology_of
from cachewright.topologies.topology import status_check

NO_FIREWALL = f"clients of a cluster connect to its nodes, and {client_firewall.OFF}"
NO_TLS = "valkey-server has no TLS, or had none when the cluster was created"
_ANOTHER = "create another instance"
_ADDRESS_CHANGE = "Address change."
_MOVE_SECONDS, _PROXY_SECONDS = 0.1, 0.4


class TlsRequest(msgspec.Struct, frozen=True):
    """:ivar has_haproxy: whether the host can start proxies."""

    enabled: bool
    has_haproxy: bool


class TlsParams(msgspec.Struct, frozen=True):
    """:ivar before: whether TLS was on at the request."""

    enabled: bool
    before: bool


class WhitelistParams(msgspec.Struct, frozen=True):
    """:ivar before: whether a whitelist was on at the request."""

    enabled: bool
    before: bool = False


class WhitelistRequest(msgspec.Struct, frozen=True):
    """The groups are attributes of the instance.

    :ivar has_haproxy: whether the host can start proxies, :ivar has_firewall: load rules of nftables.
    """

    enabled: bool
    has_haproxy: bool
    has_firewall: bool


class _AddressChange(Operation[RequestT, ParamsT]):
    """Common part of these operations."""

    permission = "dcs:instance:modify"
    outline = (PRE_CHECK, _ADDRESS_CHANGE)
    interruptible = False
    status_while_running = "RUNNING"

    def change(self, task: Task) -> SubStepSpec:
        """Return the sub-step that changes the proxy."""
        raise NotImplementedError

    def needs_proxy(self, instance: Instance, task: Task) -> bool:
        raise NotImplementedError

    def expected_seconds(self, task: Task, nodes: Sequence[Node], dataset: int) -> float:
        return _PROXY_SECONDS

    async def plan(self, context: OperationContext, task: Task) -> tuple[Step, ...]:
        instance, nodes = await context.instance_and_nodes(task)
        check = status_check()
        steps = {PRE_CHECK: [check]}
        topology = topology_of(instance.spec_code)
        is_single = not (topology.is_cluster or topology.has_sentinel)
        if is_single and (has_proxy(instance, nodes) or self.needs_proxy(instance, task)):
            move = move_port.sub_step("Port change.", effort("address", seconds=_MOVE_SECONDS), NoArguments())
            steps[_ADDRESS_CHANGE] = [move]
        steps[_ADDRESS_CHANGE] = [*steps.get(_ADDRESS_CHANGE, []), self.change(task)]
        return build(task.run_id, steps)


class SwitchTls(_AddressChange[TlsRequest, TlsParams]):
    kind = "tls"
    name = "UpdateSslSwitch"
    params = TlsParams
    busy = errors.INSTANCE_CONFIGURING

    def validate(self, instance: Instance, nodes: Sequence[Node], request: TlsRequest) -> Accepted[TlsParams]:
        reason = tls_obstacle(instance, nodes, has_haproxy=request.has_haproxy)
        if request.enabled and reason is not None:
            raise ApiError(errors.INVALID_ENABLE_SSL, reason=reason)
        _require_running(nodes)
        before = instance.server_certificate is not None
        return Accepted(TlsParams(request.enabled, before), {"enable_ssl": request.enabled})

    def needs_proxy(self, instance: Instance, task: Task) -> bool:
        return self.params_of(task).enabled

    def change(self, task: Task) -> SubStepSpec:
        arguments = Switch(self.params_of(task).enabled)
        return switch_tls.sub_step("TLS of clients.", effort("address", seconds=_PROXY_SECONDS), arguments)

    def expected_seconds(self, task: Task, nodes: Sequence[Node], dataset: int) -> float:
        return _PROXY_SECONDS + SECONDS_OF_SHARD * len({node.shard for node in nodes})

    async def plan(self, context: OperationContext, task: Task) -> tuple[Step, ...]:
        """Restart the nodes of a cluster one after another. After a retry, those with the new mode are left out."""
        instance, nodes = await context.instance_and_nodes(task)
        if not topology_of(instance.spec_code).is_cluster:
            return await super().plan(context, task)
        enabled = self.params_of(task).enabled
        left = {node.id for node in nodes if node.client_tls != enabled}
        restarts = [
            switch_node_tls.sub_step(f"Node restart. {node.place}", node.work, NodeSwitch(node.id, enabled))
            for node in await nodes_to_restart(context, task)
            if node.id in left
        ]
        check = status_check()
        steps = {PRE_CHECK: [check], _ADDRESS_CHANGE: [self.change(task)], NODE_RESTART: restarts, POST_CHECK: [check]}
        return build(task.run_id, steps)

    async def recover(self, context: OperationContext, task: Task) -> None:
        """Return to what was on at the request. `ProxyWatch` starts a proxy that does not start now. ActionFailed
        DCS.9001 if a node of a cluster does not start."""
        before = self.params_of(task).before
        await record_tls(context, task.instance_id, enabled=before)
        instance, nodes = await context.instance_and_nodes(task)
        if topology_of(instance.spec_code).is_cluster:
            try:
                await return_nodes(context, instance, nodes, client_tls=before)
            except NodeStartFailed as failure:
                raise ActionFailed(errors.NODE_START_FAILED, f"a node does not start again: {failure}") from failure
        await _complete_move(context, instance, nodes)
        with suppress(NodeStartFailed):
            await proxies.ensure(context, instance, nodes)


class ChangeWhitelist(_AddressChange[WhitelistRequest, WhitelistParams]):
    """The request stores the whitelist; the task waits until the proxy enforces it."""

    kind = "whitelist"
    name = "AddWhitelist"
    params = WhitelistParams

    def validate(
        self, instance: Instance, nodes: Sequence[Node], request: WhitelistRequest
    ) -> Accepted[WhitelistParams]:
        reason = whitelist_obstacle(instance, nodes, has_haproxy=request.has_haproxy, has_firewall=request.has_firewall)
        if request.enabled and reason is not None:
            raise ApiError(errors.INVALID_PARAMETER, parameter=WHITELIST_ENABLED, reason=reason)
        _require_running(nodes)
        return Accepted(WhitelistParams(request.enabled, allowed_addresses(instance) is not None))

    def needs_proxy(self, instance: Instance, task: Task) -> bool:
        return allowed_addresses(instance) is not None

    def change(self, task: Task) -> SubStepSpec:
        arguments = Switch(self.params_of(task).enabled)
        return apply_whitelist.sub_step("Whitelist.", effort("address", seconds=_PROXY_SECONDS), arguments)

    async def recover(self, context: OperationContext, task: Task) -> None:
        """Record that the whitelist is off if nothing enforces it. A cluster that had one keeps its rules."""

        def write() -> None:
            with context.database.write() as connection:
                _turn_off_unless_enforced(connection, task.instance_id)

        instance, _ = await context.instance_and_nodes(task)
        if client_firewall.is_filtered(instance) and self.params_of(task).before:
            return

        await asyncio.to_thread(write)
        await _complete_move(context, *await context.instance_and_nodes(task))


async def _complete_move(context: OperationContext, instance: Instance, nodes: Sequence[Node]) -> None:
    """Let the node of a single instance that has a proxy start at its recorded address, also if `move port` has failed
    in between."""
    topology = topology_of(instance.spec_code)
    if not (topology.is_cluster or topology.has_sentinel) and has_proxy(instance, nodes):
        for node in nodes:
            await context.host.write_files(node.id, await context.files(instance, node))


def tls_obstacle(instance: Instance, nodes: Sequence[Node], *, has_haproxy: bool) -> str | None:
    """Return why clients of the instance cannot have TLS; None if they can."""
    if topology_of(instance.spec_code).is_cluster:
        return NO_TLS if instance.node_ca is None else None
    if away := node_elsewhere(nodes):
        return away
    return _proxy_obstacle(instance, nodes, has_haproxy=has_haproxy)


def whitelist_obstacle(
    instance: Instance, nodes: Sequence[Node], *, has_haproxy: bool, has_firewall: bool
) -> str | None:
    """Return why clients of the instance cannot be filtered by address; None if they can."""
    if away := node_elsewhere(nodes):
        return away
    if topology_of(instance.spec_code).is_cluster:
        return None if has_firewall else NO_FIREWALL
    return _proxy_obstacle(instance, nodes, has_haproxy=has_haproxy)


def _proxy_obstacle(instance: Instance, nodes: Sequence[Node], *, has_haproxy: bool) -> str | None:
    """Return why the instance, whose nodes are on this host, cannot have a proxy; None if it can."""
    topology = topology_of(instance.spec_code)
    if not has_haproxy:
        return proxies.NO_HAPROXY
    if has_proxy(instance, nodes):
        exposed = next((node for node in nodes if not is_loopback(node.host)), None)
        if exposed:
            return f"other machines reach node {exposed.id} at {exposed.host} and would bypass the proxy; {_ANOTHER}"
        return None
    missing = f"the instance has no proxy, because HAProxy was missing when it was created; {_ANOTHER}"
    return missing if topology.has_sentinel else None


def _require_running(nodes: Sequence[Node]) -> None:
    """ApiError if the owner has stopped all nodes."""
    if not any(node.should_run for node in nodes):
        raise ApiError(errors.INSTANCE_NOT_RUNNING, reason="all its nodes are stopped; start them first")


def _turn_off_unless_enforced(connection: sa.Connection, instance_id: str) -> None:
    instance = instances.find(connection, instance_id)
    if instance is None or has_proxy(instance, instances.nodes_of(connection, instance_id)):
        return
    attributes = {name: value for name, value in instance.attributes.items() if name != WHITELIST_ENABLED}
    instances.change(connection, instance_id, attributes=attributes)


SWITCH_TLS = SwitchTls()
CHANGE_WHITELIST = ChangeWhitelist()
