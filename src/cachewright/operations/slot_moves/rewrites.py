"""Rewrites of append-only files, which nodes do not start while the slots of their instance move.

Each rewrite is a child process that uses a processor for seconds. Nodes whose moves have ended would start theirs
beside the moves of other nodes. See docs/decisions/0106.
"""

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager

from cachewright.model.instances import Node
from cachewright.model.tasks import SubStep
from cachewright.tasks.operation import StepContext
from cachewright.valkey.access import Access
from cachewright.valkey.migration.node_settings import reset
from cachewright.valkey.migration.source_state import MigrationState


@asynccontextmanager
async def allowed_after_last_move(
    step: StepContext, state: MigrationState, nodes: Sequence[Node], access: Access
) -> AsyncIterator[None]:
    """Perform a move in the block. After the last move of the task, reset the settings of all nodes that should run."""
    own, ended = step.sub_step, state.ended_moves[step.task.instance_id]
    ended.discard(own.id)  # of an earlier attempt
    try:
        yield
    finally:
        ended.add(own.id)
        moves = [sub_step for sub_step in step.beside if sub_step.action == own.action]
        if all(_has_ended(move, ended) for move in moves):
            await asyncio.gather(*(reset(node, access) for node in nodes if node.should_run))


def _has_ended(move: SubStep, ended: Collection[str]) -> bool:
    """Whether a move has ended. Those in `ended` have, although it is not recorded yet."""
    return move.id in ended or move.status in {"FINISH", "FAILED"}
