"""Watch each move for hazards of slot migration that Valkey does not handle itself, end them and record them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from cachewright.clock import now_ms
from cachewright.errors import DatabaseUnavailable
from cachewright.model.instances import Node
from cachewright.operations.context import OperationContext
from cachewright.operations.slot_moves.ended_jobs import known_jobs
from cachewright.operations.slot_moves.handover_guard import HandoverGuard
from cachewright.operations.slot_moves.leaked_children import end_leaked_children
from cachewright.tasks.operation import StepContext
from cachewright.valkey.access import Access
from cachewright.valkey.migration.failure import MigrationFailed
from cachewright.valkey.node_log import confirmed, write_loss_warnings
from cachewright.valkey.slots import SlotRange, overlap


@asynccontextmanager
async def watch_hazards(
    context: OperationContext, step: StepContext, part: SlotRange, nodes: tuple[Node, Node], access: Access
) -> AsyncIterator[None]:
    """Watch the move of the slots `part` within the block. `nodes` are source and target.

    Warnings of the source about lost writes are added to the reasons of a MigrationFailed, to the detail of the
    sub-step and to the message of the task."""
    source, target = nodes
    try:
        async with HandoverGuard(context=context, source=source, target=target, access=access).watching():
            yield
    except MigrationFailed as failure:
        if warnings := await _after_failure(context, step, source, part, access):
            raise MigrationFailed([*failure.reasons, *warnings]) from failure
        raise
    except Exception:
        await _after_failure(context, step, source, part, access)
        raise
    if warnings := await _warnings(context, step, source, part, access):
        step.measure(detail=f"{step.sub_step.detail[:-1]},warning:{'; '.join(warnings)}}}")


async def _after_failure(
    context: OperationContext, step: StepContext, source: Node, part: SlotRange, access: Access
) -> list[str]:
    """End leaked processes of the source and return its warnings. None if the claim to perform tasks is not valid: the
    failure is not replaced by that, and the next attempt reads the log again."""
    with suppress(DatabaseUnavailable):
        await end_leaked_children(context, source, access)
        return await _warnings(context, step, source, part, access)
    return []


async def _warnings(
    context: OperationContext, step: StepContext, source: Node, part: SlotRange, access: Access
) -> list[str]:
    """Record and return what the source has logged about lost writes of these slots since the begin of the sub-step.
    Its jobs must confirm it, unless it does not answer."""
    logged = await context.host.read_log(source.id, None)
    begin = step.sub_step.begin_time or 0
    logged_warnings = [found for found in write_loss_warnings(logged.lines, now_ms()) if found.at >= begin]
    if logged_warnings and (jobs := await known_jobs(source, access)) is not None:
        logged_warnings = confirmed(logged_warnings, jobs)
    found = [warning.described(source.id) for warning in logged_warnings if overlap(warning.slots, part)]
    for text in found:
        step.warn(text)
    return found
