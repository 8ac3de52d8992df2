"""The parts of a migration, on the host of its gateways: in this process, or as jobs of an agent."""

import asyncio
import time

import msgspec

from cachewright.hosts.calls import HostSilent
from cachewright.hosts.jobs import ORDER_SECONDS
from cachewright.jobs.migrations import imports, parts
from cachewright.jobs.migrations.files import FileOfImport
from cachewright.jobs.migrations.machine import gateway_name
from cachewright.jobs.migrations.orders import VALID_SECONDS, Orders, Progress
from cachewright.jobs.migrations.run import SourceRun
from cachewright.jobs.migrations.shards import CopyShard, FetchFile, ImportFile, Part, SyncGateway
from cachewright.jobs.spec import CopyKeys, FetchFileOfImport, Follow, ImportKeys, PartOfMigration, Synchronize
from cachewright.model.hosts import EMBEDDED
from cachewright.operations.agent_jobs import AgentJob, JobForgotten, failures_of_actions, require_success, told
from cachewright.operations.context import OperationContext
from cachewright.operations.online_migrations.caller import StepCaller
from cachewright.operations.online_migrations.files import place_of_file
from cachewright.operations.online_migrations.places import ability_for, place_now
from cachewright.operations.online_migrations.records import add_copied_libraries, record_of
from cachewright.operations.online_migrations.run import MigrationRun, machine_of
from cachewright.operations.work_places import next_place
from cachewright.tasks.operation import ActionFailed, StepContext
from cachewright.tasks.waiting import Postponed
from cachewright.tasks.waits import PAUSED
from cachewright.valkey.access import peer_proofs
from cachewright.valkey.sources.copier import TargetNotReady
from cachewright.valkey.sources.target import TargetMap

_POLL_SECONDS = 1.0
_AGAIN_SECONDS = 0.5
_SILENT_SECONDS = 15.0
"""Time without an answer after which an attempt ends."""

_LONG_SECONDS = 300.0
"""Duration of an attempt that counts as no failure if its agent falls silent or is started again. A source may be
followed for weeks, and attempts are few."""

_LOST_SECONDS = 600.0
"""Time after which a host that does not report counts as lost, so that attempts fail."""

_ELSEWHERE = "elsewhere"
"""Name of the hosts that are not that of the agent, for the agent."""


async def perform(context: OperationContext, step: StepContext, part: Part) -> None:
    """Perform a part of a migration. Raises ActionFailed, Postponed, HostSilent, or one of NODE_GONE or NodeRefused."""
    run = await MigrationRun.load(context, step.task)
    host_name = await place_now(run)
    if host_name == EMBEDDED:
        with failures_of_actions():
            await _perform_here(run, step, part)
        return
    await _perform_elsewhere(run, step, part, host_name)


async def _perform_here(run: MigrationRun, step: StepContext, part: Part) -> None:
    """Perform a part with gateways on the machine of the server."""
    access, total = run.context.access(run.instance), step.sub_step.work.total
    own = SourceRun(machine_of(run.context), StepCaller(run, step), run.assignment, access)
    if isinstance(part, FetchFile | ImportFile):
        place = await place_of_file(run, part.file)
        await imports.perform(own, part, FileOfImport(own, part.file, place, run.context.backup_storage), total)
        return
    await parts.perform(own, part, total)


async def _perform_elsewhere(run: MigrationRun, step: StepContext, part: Part, host_name: str) -> None:
    """Perform a part by the agent of a host. An attempt after a kill of the server continues with the job of the one
    before."""
    nodes = await run.context.nodes(run.instance.id)
    node = next((node for node in nodes if node.host_name == host_name), None)
    if node is None:
        raise HostSilent(f"host {host_name} has no node of the instance any more")
    job, began_at = AgentJob(run.context, node, f"{step.sub_step.id} {node.id}"), time.monotonic()
    await job.begin(await _job(run, part, step.sub_step.work.total))
    try:
        await _AgentPart(run, step, job).complete()
    except ActionFailed:
        await asyncio.shield(_end(job))
        raise
    except HostSilent as silent:
        if time.monotonic() - began_at < _LONG_SECONDS:
            raise
        raise _postponed(run, host_name) from silent
    # After another error, and when this server stops, the next attempt finds the job, or begins it again.
    await job.end()


def _postponed(run: MigrationRun, host_name: str) -> Postponed:
    """Return the wait until a host reports, another one can take over, or some minutes have passed."""
    began_at = time.monotonic()

    async def is_over() -> bool:
        measured = await asyncio.to_thread(run.context.host.measured)
        if host_name in measured or time.monotonic() - began_at > _LOST_SECONDS:
            return True
        nodes = await run.context.nodes(run.instance.id)
        return next_place(host_name, nodes, measured, ability_for(run)) != host_name

    return Postponed(f"waiting for host {host_name}", is_over)


async def _end(job: AgentJob) -> None:
    """End a job. If its agent does not answer, return when the job copies no keys any more."""
    try:
        await job.ensure_ended()
    except HostSilent:
        await asyncio.sleep(_POLL_SECONDS + ORDER_SECONDS + VALID_SECONDS)


async def _job(run: MigrationRun, part: Part, total: float) -> PartOfMigration:
    assignment = await run.assignment_elsewhere()
    authority = run.instance.node_ca
    proofs = await asyncio.to_thread(peer_proofs, authority) if authority else None
    match part:
        case SyncGateway():
            return Synchronize(assignment=assignment, total=total, proofs=proofs, part=part)
        case CopyShard():
            name, fresh = gateway_name(assignment.migration_id, part.shard.number), run.context.streams.fresh
            is_first = name in fresh
            fresh.discard(name)  # if the answer to the begin is lost, keys may be there
            return CopyKeys(assignment=assignment, total=total, proofs=proofs, part=part, is_first=is_first)
        case FetchFile():
            place = await place_of_file(run, part.file)
            return FetchFileOfImport(assignment=assignment, total=total, proofs=proofs, part=part, place=place)
        case ImportFile():
            place = await place_of_file(run, part.file)
            return ImportKeys(assignment=assignment, total=total, proofs=proofs, part=part, place=place)
        case _:
            return Follow(assignment=assignment, total=total, proofs=proofs, part=part)


class _AgentPart:
    """A part that an agent performs, as its sub-step shows it."""

    def __init__(self, run: MigrationRun, step: StepContext, job: AgentJob) -> None:
        self._run = run
        self._step = step
        self._job = job
        self._orders = Orders()
        self._heard_at = time.monotonic()

    async def complete(self) -> None:
        """Return when the job has succeeded. Raises ActionFailed or HostSilent."""
        while True:
            self._step.raise_if_cancelled()
            self._orders = await self._present_orders()
            try:
                state = await self._job.steer(self._orders, self._orders.known_stage, _POLL_SECONDS)
            except JobForgotten:
                raise
            except HostSilent as silent:
                await self._wait_for_agent(silent)
                continue
            self._heard_at = time.monotonic()
            self._orders = msgspec.structs.replace(self._orders, target=None, refusal="")  # the job has the answer
            progress = told(state, Progress)
            await self._note(progress)
            if state.has_ended:
                self._step.end_wait()
                require_success(self._job.node, state)
                return
            self._show(progress)
            if progress.request != self._orders.answered:
                await self._answer(progress)

    async def _wait_for_agent(self, silent: HostSilent) -> None:
        """Wait a moment: a silence uses up no attempt unless it lasts."""
        if time.monotonic() - self._heard_at > _SILENT_SECONDS:
            raise silent
        host = f"host {self._job.node.host_name}"
        self._step.begin_wait(f"waiting for {host}", cause=host)
        await asyncio.sleep(_POLL_SECONDS)

    async def _present_orders(self) -> Orders:
        migration = await record_of(self._run.context, self._run.task)
        return msgspec.structs.replace(
            self._orders,
            is_paused=self._step.is_paused(),
            resume_mode=migration.resume_mode,
            is_cut_over=migration.cut_over_at is not None,
        )

    async def _note(self, progress: Progress) -> None:
        for event in progress.events:
            if event.number > self._orders.noted:
                await self._run.note(event.level, event.message)
                self._orders = msgspec.structs.replace(self._orders, noted=event.number)

    def _show(self, progress: Progress) -> None:
        self._step.measure(done=progress.done, detail=progress.detail)
        if progress.is_held and self._orders.is_paused:
            self._step.begin_wait(PAUSED)
        elif progress.waits:
            self._step.begin_wait(progress.waits, cause=progress.cause)
        else:
            self._step.end_wait()
            self._step.show(progress.shown)

    async def _answer(self, progress: Progress) -> None:
        """Prepare the answer to a request, which the next orders contain."""
        target, refusal = None, ""
        if progress.libraries is not None:
            await add_copied_libraries(self._run.context, self._run.task, progress.libraries)
        else:
            try:
                target = seen_from(self._job.node.host_name, await self._run.find_target())
            except TargetNotReady as reason:
                refusal = str(reason)
                await asyncio.sleep(_AGAIN_SECONDS)  # the job requests them again
        self._orders = msgspec.structs.replace(self._orders, answered=progress.request, target=target, refusal=refusal)


def seen_from(host_name: str, target: TargetMap) -> TargetMap:
    """Return the owners of slots as an agent sees them: it reaches the nodes of its host by their sockets, and others
    by their ports. Pure."""
    nodes = tuple(
        msgspec.structs.replace(node, host_name=EMBEDDED, access="socket")
        if node.host_name == host_name
        else msgspec.structs.replace(node, host_name=_ELSEWHERE)
        for node in target.nodes
    )
    return TargetMap(nodes, target.owners)
