"""The host on which the gateways of a migration run."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence

from cachewright.hosts.host import MeasuredHost
from cachewright.model.hosts import EMBEDDED
from cachewright.model.instances import Node
from cachewright.model.online_migrations import GATEWAY_HOST
from cachewright.operations.online_migrations.records import change_record, record_of
from cachewright.operations.online_migrations.run import MigrationRun


def place_of_gateways(
    nodes: Sequence[Node], primaries: Sequence[Node], hosts: Mapping[str, MeasuredHost], needed: int
) -> str:
    """Return the name of the host on which gateways run best. Pure.

    It is that of the server if it has half of the nodes or more, or if no other host with nodes runs gateways. Of the
    others those with enough memory come first, then the one with the most primaries, which get the keys, then the one
    with the most nodes.

    :param nodes: of the instance, :param primaries: those of them that own slots, as far as that is known.
    :param hosts: those that report.
    :param needed: bytes of memory.
    """
    counts, owners = Counter(node.host_name for node in nodes), Counter(node.host_name for node in primaries)
    others = [name for name in _others(counts) if name in hosts and hosts[name].gateways is not None]
    if 2 * counts[EMBEDDED] >= len(nodes) or not others:
        return EMBEDDED

    def rank(name: str) -> tuple[bool, int, int, str]:
        return hosts[name].resources.memory_free >= needed, owners[name], counts[name], name

    return max(others, key=rank)


def next_place(former: str, nodes: Sequence[Node], hosts: Mapping[str, MeasuredHost]) -> str:
    """Return the host for the next attempt: the former one while it reports, or if no other one with nodes could take
    its place. Pure."""
    if former == EMBEDDED or former in hosts:
        return former
    found = place_of_gateways(nodes, (), hosts, 0)
    return former if found == EMBEDDED else found


async def place_now(run: MigrationRun) -> str:
    """Return the host of the gateways of a migration. It is another one than before if that does not report any more;
    then all keys are copied again."""
    former = str(run.migration.attributes.get(GATEWAY_HOST, EMBEDDED))
    if former == EMBEDDED:
        return former
    nodes = await run.context.nodes(run.instance.id)
    found = next_place(former, nodes, await asyncio.to_thread(run.context.host.measured))
    if found != former:
        await keep_place(run, found)
        await run.note("warning", f"host {former} does not report, gateways run on host {found} now")
    return found


async def keep_place(run: MigrationRun, host_name: str) -> None:
    """Store the host of the gateways of a migration."""
    migration = await record_of(run.context, run.task)
    attributes = {**migration.attributes, GATEWAY_HOST: host_name}
    await change_record(run.context, migration.id, attributes=attributes)
    run.migration = await record_of(run.context, run.task)


def _others(counts: Mapping[str, int]) -> list[str]:
    return [name for name in counts if name != EMBEDDED]
