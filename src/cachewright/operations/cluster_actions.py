"""Sub-steps on a whole cluster: check it, let it form, let new nodes join it."""

import asyncio
import shutil
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import psutil

from cachewright.operations.layout import masters
from cachewright.operations.site import Site
from cachewright.store.records import Instance, Node
from cachewright.tasks.operation import ActionFailed, Running
from cachewright.valkey.client import NODE_GONE, NodeRefused, ask, connect
from cachewright.valkey.slots import require_full_cover
from cachewright.valkey.topology import View, views

_POLL_SECONDS = 0.05


async def check_resources(site: Site, running: Running) -> None:
    """The host has the memory and the disk that the plan needs, and each shard that stays has room for what it gets.

    `arguments`: host_bytes, disk_bytes, and `rooms` of [node id, bytes it will hold, bytes it may hold].
    """
    memory, disk = free_resources(site)
    running.measure(detail=f"{{memory_free:{memory},disk_free:{disk}}}")
    for failure in resource_failures(running.sub_step.arguments, memory, disk):
        raise failure


def free_resources(site: Site) -> tuple[int, int]:
    """Bytes of memory and of disk that the host has left."""
    return psutil.virtual_memory().available, shutil.disk_usage(site.settings.data_dir).free


def resource_failures(arguments: Mapping[str, Any], memory: int, disk: int) -> Iterator[ActionFailed]:
    """What `check_resources` fails on. Trying again would not help."""
    if memory < arguments["host_bytes"]:
        yield ActionFailed("DCS.4036", f"{arguments['host_bytes']} bytes of memory needed, {memory} are free", True)
    if disk < arguments["disk_bytes"]:
        yield ActionFailed("DCS.9007", f"{arguments['disk_bytes']} bytes of disk needed, {disk} are free", True)
    for node_id, holds, may_hold in arguments["rooms"]:
        if holds > may_hold:
            yield ActionFailed("DCS.9008", f"node {node_id} would hold {holds} bytes of at most {may_hold}", True)


async def check_status(site: Site, running: Running) -> None:
    """Every node answers and finds the cluster whole."""
    _, nodes, seen = await site.look(running.task)
    new = running.sub_step.arguments["new"]
    for failure in status_failures([node for node in nodes if node.id not in new], seen):
        raise failure


def status_failures(nodes: Sequence[Node], seen: Mapping[str, View | None]) -> Iterator[ActionFailed]:
    """What `check_status` fails on: the first fault of each node that should be running."""
    for node in nodes:
        if node.wanted and (fault := _fault(seen[node.id])):
            yield ActionFailed("DCS.9004", f"node {node.id} {fault}")


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


async def form(site: Site, running: Running) -> None:
    """Returns when every node is ok in its own eyes and every replica follows its master."""
    instance = await site.instance(running.task)
    nodes = await site.nodes(running.task.instance_id)
    while True:
        ready = await asyncio.gather(*(settled(node, nodes, instance) for node in nodes))
        running.measure(done=sum(ready), detail=f"{{nodes_ready:{sum(ready)}/{len(nodes)}}}")
        if all(ready):
            return
        await asyncio.sleep(_POLL_SECONDS)


async def join(site: Site, running: Running) -> None:
    """Returns when old and new nodes all know each other and the new ones are ready for slots."""
    instance, nodes, seen = await site.look(running.task)
    new_ids = set(running.sub_step.arguments["node_ids"])
    old = [node for node in nodes if node.id not in new_ids and node.wanted]
    new = [node for node in nodes if node.id in new_ids]
    ids = [node.id for node in (*old, *new)]
    await asyncio.gather(*(_introduce(node, new, seen[node.id], instance.password) for node in old))
    await _place_replicas(new, instance.password)
    while True:
        ready = await asyncio.gather(*(settled(node, (*old, *new), instance) for node in (*old, *new)))
        running.measure(done=sum(ready), detail=f"{{nodes_ready:{sum(ready)}/{len(ids)}}}")
        if all(ready):
            return
        await asyncio.sleep(_POLL_SECONDS)


async def _introduce(node: Node, new: list[Node], sight: View | None, password: str | None) -> None:
    """Each old node is told of each new one: waiting for gossip to carry the news takes longer."""
    async with connect(node, password) as client:
        for stranger in new:
            if sight is None or stranger.id not in sight.members:
                await ask(client, "CLUSTER MEET", stranger.host, stranger.port, stranger.bus_port)


async def _place_replicas(new: list[Node], password: str | None) -> None:
    """Makes each new replica follow the new master of its shard, as soon as it knows it."""
    leads = {node.shard: node for node in new if node.role == "master"}
    for node in new:
        if node.role == "master" or node.shard not in leads:
            continue
        lead = leads[node.shard]
        while True:
            sight = (await views([node], password))[node.id]
            if sight and sight.members[node.id].primary == lead.id:
                break
            if sight and sight.knows([lead.id]):
                async with connect(node, password) as client:
                    await ask(client, "CLUSTER REPLICATE", lead.id)
            await asyncio.sleep(_POLL_SECONDS)


async def settled(node: Node, nodes: Sequence[Node], instance: Instance) -> bool:
    """The node knows all the others, is ok, and follows its master if it is a replica."""
    try:
        async with connect(node, instance.password) as client:
            sight = (await views([node], instance.password))[node.id]
            if sight is None or not sight.ok or not sight.knows([other.id for other in nodes]):
                return False
            if masters([node], sight):
                return True
            return bool((await client.info("replication")).get("master_link_status") == "up")
    except (*NODE_GONE, NodeRefused):
        return False
