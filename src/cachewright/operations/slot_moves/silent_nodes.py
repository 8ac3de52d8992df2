"""Find out whether a move of slots stands still because a node does not answer, and record that as a wait.

A command to such a node ends after its own time limit, and so does the attempt. This watch changes neither: it only
says earlier why nothing moves.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

from cachewright.clock import now_ms
from cachewright.concurrency import end_tasks
from cachewright.errors import DatabaseUnavailable
from cachewright.model.instances import Node
from cachewright.tasks.operation import StepContext
from cachewright.valkey.access import Access
from cachewright.valkey.client import NODE_GONE, NodeRefused
from cachewright.valkey.single_request import request_once

_STANDING_SECONDS = 2.0
_POLL_SECONDS = 0.5
_ANSWER_SECONDS = 1.0


class SilentNodes:
    """Watches the nodes of one move.

    :ivar nodes: the nodes that the move needs now.
    """

    def __init__(self, step: StepContext, nodes: Sequence[Node], access: Access) -> None:
        self.nodes = nodes
        self._step = step
        self._access = access
        self._cause = ""
        self._done = step.sub_step.done
        self._well_at = time.monotonic()
        self._moved_at = self._well_at - _seconds_since(step.sub_step.progress_at)

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Watch within the block."""
        watcher = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            await end_tasks(watcher)
            self._end_wait()

    async def _watch(self) -> None:
        """Look again and again. While the claim to perform tasks is not valid, nodes cannot be asked, and the record
        stays as it is."""
        while True:
            await asyncio.sleep(_POLL_SECONDS)
            with suppress(DatabaseUnavailable):
                await self._look()

    async def _look(self) -> None:
        if self._stands_still():
            asked_at = time.monotonic()
            silent = await self._silent()
            if silent and self._stands_still():
                self._begin_wait(silent)
                return
            self._well_at = asked_at
        self._end_wait()

    def _stands_still(self) -> bool:
        """Whether the counter has not increased for a while, and no other wait explains it."""
        sub_step = self._step.sub_step
        if sub_step.done != self._done:
            self._done = sub_step.done
            self._moved_at = self._well_at = time.monotonic()
        others = sub_step.waiting is not None and sub_step.waiting.cause != self._cause
        return time.monotonic() - self._moved_at >= _STANDING_SECONDS and not others

    async def _silent(self) -> list[Node]:
        """Return the nodes that do not answer."""
        answered = await asyncio.gather(*(self._answers(node) for node in self.nodes))
        return [node for node, answers in zip(self.nodes, answered, strict=True) if not answers]

    async def _answers(self, node: Node) -> bool:
        try:
            await request_once(node, self._access, [("PING",)], _ANSWER_SECONDS)
        except NodeRefused:
            return True
        except NODE_GONE:
            return False
        return True

    def _begin_wait(self, silent: Sequence[Node]) -> None:
        """Record the wait since the last moment at which all nodes answered or the counter increased."""
        self._cause = "; ".join(f"node {node.id} does not answer" for node in silent)
        self._step.begin_wait(self._cause, seconds=time.monotonic() - self._well_at)

    def _end_wait(self) -> None:
        waiting = self._step.sub_step.waiting
        if self._cause and waiting and waiting.cause == self._cause:
            self._step.end_wait()
        self._cause = ""


def _seconds_since(progress_at: int | None) -> float:
    """Seconds since the last progress of an earlier attempt; 0 if there was none."""
    return max(now_ms() - progress_at, 0) / 1000 if progress_at else 0.0
