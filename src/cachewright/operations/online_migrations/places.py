"""The host on which the gateways of a migration run."""

import asyncio

from cachewright.model.hosts import EMBEDDED
from cachewright.model.online_migrations import GATEWAY_HOST
from cachewright.operations.online_migrations.records import change_record, record_of
from cachewright.operations.online_migrations.run import MigrationRun
from cachewright.operations.work_places import CanRun, next_place, runs_gateways, runs_temporary_nodes


def ability_for(run: MigrationRun) -> CanRun:
    """Return what tells whether the agent of a host can have the gateways of a migration."""
    return runs_temporary_nodes if run.migration.is_import else runs_gateways


async def place_now(run: MigrationRun) -> str:
    """Return the host of the gateways of a migration. It is another one than before if that does not report any more;
    then all keys are copied again."""
    former = str(run.migration.attributes.get(GATEWAY_HOST, EMBEDDED))
    if former == EMBEDDED:
        return former
    nodes = await run.context.nodes(run.instance.id)
    hosts = await asyncio.to_thread(run.context.host.measured)
    found = next_place(former, nodes, hosts, ability_for(run))
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
