"""Adopts nodes of an earlier release: adds the control plane's user to them while they serve.

Nodes of release 0.1 have one user, `default`, with all rights. Adoption adds the user `cachewright`, makes replication
use it, and removes the administrative rights of `default`. Clients keep their connections. A node gets its Unix socket
at its next start; until then the control plane reaches it over TCP.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Sequence

from cachewright.model.instances import Instance, Node, NodeAccess
from cachewright.operations.context import OperationContext
from cachewright.store import instances
from cachewright.threads import in_background
from cachewright.valkey.access import SOCKET, Access
from cachewright.valkey.acl import CONTROL_USER, control_rules
from cachewright.valkey.client import NODE_GONE, NodeRefused, ask, connect
from cachewright.valkey.users import users_of

log = logging.getLogger(__name__)

_Change = Callable[[Access], Sequence[tuple[str, ...]]]
"""Commands of one step of an adoption."""


async def adopt_nodes(context: OperationContext) -> None:
    """Adopt all nodes that respond. Repeat the call to adopt the others later."""
    pending: dict[str, list[Node]] = defaultdict(list)
    for node in await in_background(_pending, context):
        pending[node.instance_id].append(node)
    await asyncio.gather(*(_adopt(context, instance_id, nodes) for instance_id, nodes in pending.items()))


async def _adopt(context: OperationContext, instance_id: str, nodes: Sequence[Node]) -> None:
    instance = await in_background(_instance, context, instance_id)
    if instance is None:
        return
    restarted = [node for node in nodes if await context.host.has_file(node.id, SOCKET)]
    await _record(context, restarted, "socket")
    old = [node for node in nodes if node.access == "password" and node not in restarted]
    for node in old:
        if await context.host.has_file(node.id, "valkey.conf"):
            await context.host.write_files(node.id, await context.files(instance, node))
    access = context.access(instance)
    ready = await _each(old, access, _add_control_user)
    ready = await _each(ready, access, _change_replication_user)
    await _each(ready, access, _check_payloads)
    adopted = await _each(ready, access, lambda _: _restrict_clients(instance))
    await _record(context, adopted, "tcp")
    if adopted:
        log.info(
            "%d nodes of instance %s now have separate users for the control plane and for clients; restart the "
            "instance to give them a control socket",
            len(adopted),
            instance.id,
        )


async def _each(nodes: Sequence[Node], access: Access, act: _Change) -> list[Node]:
    """Run `act` on each node; the nodes on which it succeeded."""

    async def one(node: Node) -> bool:
        try:
            async with connect(node, access) as client:
                for command in act(access):
                    await ask(client, *command)
        except NODE_GONE:
            return False
        except NodeRefused as refusal:
            log.info("node %s rejected a step of its adoption: %s", node.id, refusal)
            return False
        return True

    done = await asyncio.gather(*(one(node) for node in nodes))
    return [node for node, succeeded in zip(nodes, done, strict=True) if succeeded]


def _add_control_user(access: Access) -> list[tuple[str, ...]]:
    return [("ACL SETUSER", CONTROL_USER, "reset", *control_rules(access.secret))]


def _change_replication_user(access: Access) -> list[tuple[str, ...]]:
    return [("CONFIG SET", "primaryuser", CONTROL_USER, "primaryauth", access.secret)]


def _restrict_clients(instance: Instance) -> list[tuple[str, ...]]:
    return [("ACL SETUSER", user.name, "reset", *user.rules) for user in users_of(instance)]


def _check_payloads(_: Access) -> list[tuple[str, ...]]:
    """Check payloads of RESTORE. Valkey 9.1 always does and has no such setting."""
    return [("CONFIG SET", "sanitize-dump-payload", "clients")]


def _pending(context: OperationContext) -> list[Node]:
    with context.database.read() as connection:
        return instances.nodes_without_socket(connection)


def _instance(context: OperationContext, instance_id: str) -> Instance | None:
    with context.database.read() as connection:
        return instances.find(connection, instance_id)


async def _record(context: OperationContext, nodes: Sequence[Node], access: NodeAccess) -> None:
    def write() -> None:
        with context.database.write() as connection:
            for node in nodes:
                instances.change_node(connection, node.id, access=access)

    if nodes:
        await in_background(write)
