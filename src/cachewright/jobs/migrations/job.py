"""A part of a migration from outside, as a job of an agent."""

from cachewright.jobs.migrations import imports, parts
from cachewright.jobs.migrations.files import FileOfImport
from cachewright.jobs.migrations.machine import GatewayMachine
from cachewright.jobs.migrations.ordered_caller import OrderedCaller
from cachewright.jobs.migrations.run import SourceRun
from cachewright.jobs.spec import CopyKeys, FetchFileOfImport, ImportKeys, PartOfMigration
from cachewright.jobs.work import OrderedWork
from cachewright.valkey.access import Access


async def perform(work: OrderedWork, job: PartOfMigration, machine: GatewayMachine) -> None:
    """Perform a job. Raises JobFailed, or one of NODE_GONE or NodeRefused."""
    assignment = job.assignment
    access = Access(assignment.control_secret, None, work.settings.nodes_dir, proofs=job.proofs)
    run = SourceRun(machine, OrderedCaller(work), assignment, access)
    if isinstance(job, FetchFileOfImport | ImportKeys):
        place = job.place
        found = FileOfImport(run, job.part.file, place, lambda: work.storage(place.storage))
        await imports.perform(run, job.part, found, job.total)
        return
    if isinstance(job, CopyKeys) and job.is_first:
        machine.streams.fresh.add(run.gateway(job.part.shard.number).name)
    await parts.perform(run, job.part, job.total)
