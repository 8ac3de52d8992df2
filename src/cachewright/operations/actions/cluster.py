"""Sub-steps on a whole cluster: check it, let it form, let new nodes join it."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from cachewright import errors
from cachewright.hosts.resources import Resources
from cachewright.model.instances import Node
from cachewright.operations.context import OperationContext
from cachewright.tasks.operation import ActionFailed, StepContext
from cachewright.topologies import CLUSTER
from cachewright.topologies.topology import Topology
from cachewright.valkey import config
from cachewright.valkey.access import Access
from cachewright.valkey.client import NODE_GONE, NodeRefused, ask, connect
from cachewright.valkey.slots import require_full_cover
from cachewright.valkey.topology import View, primaries, views

_POLL_SECONDS = 0.02
_ANSWER_SECONDS = 5.0


async def check_resources(site: OperationContext, running: StepContext) -> None:
    """The host has the memory and the disk that the plan needs, and each shard that stays has room for what it gets.

    `arguments`: host_bytes, disk_bytes, and `rooms` of [node id, bytes it will hold, bytes it may hold].
    """
    host = await asyncio.to_thread(site.host.resources)
    running.measure(detail=f"{{memory_free:{host.memory_free},disk_free:{host.disk_free}}}")
    for failure in resource_failures(running.sub_step.arguments, host):
        raise failure


def resource_failures(arguments: Mapping[str, Any], host: Resources) -> Iterator[ActionFailed]:
    """What `check_resources` fails on. Trying again would not help."""
    memory, disk = arguments["host_bytes"], arguments["disk_bytes"]
    if host.memory_free < memory:
        yield ActionFailed(
            errors.NOT_ENOUGH_MEMORY, f"{memory} bytes of memory needed, {host.memory_free} are free", True
        )
    if host.disk_free < disk:
        yield ActionFailed(errors.NOT_ENOUGH_DISK, f"{disk} bytes of disk needed, {host.disk_free} are free", True)
    for node_id, holds, may_hold in arguments["rooms"]:
        if holds > may_hold:
            yield ActionFailed(
                errors.SHARDS_TOO_FULL, f"node {node_id} would hold {holds} bytes of at most {may_hold}", True
            )


async def check_status(site: OperationContext, running: StepContext) -> None:
    """Every node answers and finds the cluster whole."""
    _, nodes, seen = await site.look(running.task)
    new = running.sub_step.arguments["new"]
    for failure in status_failures([node for node in nodes if node.id not in new], seen):
        raise failure


def status_failures(nodes: Sequence[Node], seen: Mapping[str, View | None]) -> Iterator[ActionFailed]:
    """What `check_status` fails on: the first fault of each node that should be running."""
    for node in nodes:
        if node.should_run and (fault := _fault(seen[node.id])):
            yield ActionFailed(errors.CLUSTER_NOT_HEALTHY_IN_TIME, f"node {node.id} {fault}")


def _fault(sight: View | None) -> str | None:
    if sight is None:
        return "does not answer"
    if not sight.ok:
        return "finds the cluster not ok"
    if any(member.open_slots for member in sight.members.values()):
        return "has slots left open by a migration by hand"
    try:
        require_full_cover(sight.owned())
    except ValueError as error:
        return f"finds that {error}"
    return None


async def form(site: OperationContext, running: StepContext) -> None:
    """Returns when the nodes of a new cluster all know each other, every one is ok in its own eyes and every replica
    follows its master."""
    instance = await site.instance(running.task)
    nodes = await site.nodes(running.task.instance_id)
    access = site.access(instance)
    await _introduced(nodes, nodes, access)
    await _place_replicas(nodes, access)
    await _all_settled(running, nodes, access)


async def join(site: OperationContext, running: StepContext) -> None:
    """Returns when old and new nodes all know each other and the new ones are ready for slots."""
    instance = await site.instance(running.task)
    nodes = await site.nodes(running.task.instance_id)
    new_ids = set(running.sub_step.arguments["node_ids"])
    new = [node for node in nodes if node.id in new_ids]
    every = [*(node for node in nodes if node.id not in new_ids and node.should_run), *new]
    access = site.access(instance)
    await _introduced(every, new, access)
    leads = [node for node in new if node.role == "primary"]
    await asyncio.gather(*(lead(node, access, founding=False) for node in leads))
    await _place_replicas(new, access)
    await _all_settled(running, every, access)


async def _all_settled(running: StepContext, nodes: Sequence[Node], access: Access) -> None:
    told: set[tuple[str, str]] = set()
    while True:
        whole = await _slots_told(nodes, access, told)
        ready = await asyncio.gather(*(settled(CLUSTER, node, nodes, access) for node in whole))
        running.measure(done=sum(ready), detail=f"{{nodes_ready:{sum(ready)}/{len(nodes)}}}")
        if sum(ready) == len(nodes):
            return
        await asyncio.sleep(_POLL_SECONDS)


async def lead(node: Node, access: Access, *, founding: bool) -> None:
    """Returns when a new master leads in place of its stand-in, with its slots where it is `founding` a cluster. It
    waits until the node finds its cluster ok: from then on it is not held back (see `valkey.config`). A founding node
    that was left alone for longer than the node timeout misses its stand-in, and never finds its cluster ok."""
    gone = config.placeholder_primary(node)
    promotion = ("CLUSTER FAILOVER", "TAKEOVER") if founding else ("CLUSTER REPLICATE", "NO", "ONE")
    while True:
        sight = (await views([node], access))[node.id]
        if sight and gone not in sight.members:
            return
        with suppress(*NODE_GONE, NodeRefused):
            # A founding node that was left alone for a while counts its stand-in as failed, so its cluster is not ok.
            if sight and (sight.ok or (founding and sight.members[gone].flags & {"fail", "fail?"})):
                async with connect(node, access) as client:
                    if sight.members[node.id].primary:
                        await ask(client, *promotion)
                    await ask(client, "CLUSTER FORGET", gone)
                    continue
        await asyncio.sleep(_POLL_SECONDS)


async def _slots_told(nodes: Sequence[Node], access: Access, told: set[tuple[str, str]]) -> list[Node]:
    """Has each node say what it owns to those that know it and not that; on its own it would within seconds, when it
    meets them again it does at once. `told` keeps who has told whom. The nodes that find the cluster whole."""
    seen = await views(nodes, access)

    async def tell(node: Node) -> None:
        sight = seen[node.id]
        unaware = [
            other
            for other in nodes
            if (theirs := seen[other.id])
            and sight
            and theirs.knows([node.id])
            and theirs.members[node.id].slots != sight.members[node.id].slots
            and (node.id, other.id) not in told
        ]
        told.update((node.id, other.id) for other in unaware)
        if unaware:
            async with connect(node, access) as client:
                for other in unaware:
                    await ask(client, "CLUSTER MEET", other.host, other.peer_port, other.bus_port)

    await asyncio.gather(*(tell(node) for node in nodes))
    return [node for node in nodes if (sight := seen[node.id]) and not _fault(sight)]


async def _introduced(every: Sequence[Node], new: Sequence[Node], access: Access) -> None:
    """Every node is told of each new one: waiting for gossip to carry the news takes longer."""
    seen = await views(every, access)
    await asyncio.gather(
        *(
            _introduce(node, [other for other in every[place + 1 :] if other in new], seen[node.id], access)
            for place, node in enumerate(every)
        )
    )


async def _introduce(node: Node, new: Sequence[Node], sight: View | None, access: Access) -> None:
    async with connect(node, access) as client:
        for stranger in new:
            if sight is None or stranger.id not in sight.members:
                await ask(client, "CLUSTER MEET", stranger.host, stranger.peer_port, stranger.bus_port)


async def _place_replicas(new: Sequence[Node], access: Access) -> None:
    """Makes each new replica follow the new master of its shard, as soon as it knows it as one."""
    leads = {node.shard: node for node in new if node.role == "primary"}
    replicas = [node for node in new if node.role == "replica" and node.shard in leads]
    await asyncio.gather(*(_follow(node, leads[node.shard], access) for node in replicas))


async def _follow(node: Node, master: Node, access: Access) -> None:
    while True:
        sight = (await views([node], access))[node.id]
        if sight and sight.members[node.id].primary == master.id:
            return
        if sight and sight.knows([master.id]) and not sight.members[master.id].primary:
            async with connect(node, access) as client:
                await ask(client, "CLUSTER REPLICATE", master.id)
            continue
        await asyncio.sleep(_POLL_SECONDS)


async def settled(topology: Topology, node: Node, nodes: Sequence[Node], access: Access) -> bool:
    """Whether the node knows all the others, is ok, and follows its primary if it is a replica."""
    try:
        view = await topology.view(node, access, _ANSWER_SECONDS)
        if not view.ok or not view.knows([other.id for other in nodes]):
            return False
        if primaries([node], view):
            return True
        async with connect(node, access) as client:
            return bool((await client.info("replication")).get("master_link_status") == "up")
    except (*NODE_GONE, NodeRefused):
        return False
