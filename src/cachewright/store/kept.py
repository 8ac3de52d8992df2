"""Answers that are kept until the database changes: for what is asked for with every request, or over and over.

Whatever is committed, by whichever process, drops all of them: nobody is shown what is no longer so, and no write has
to know who reads it. Whether anything was committed takes SQLite microseconds to say, so that is asked on the event
loop; questions are answered in a thread.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar, TypeVarTuple

import sqlalchemy as sa

from cachewright.store.database import Database

Answer = TypeVar("Answer")
About = TypeVarTuple("About")

_MOST = 4096


class Kept:
    """For one event loop."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._state: int | None = None
        self._looked = False
        self._answers: dict[tuple[Any, ...], asyncio.Task[Any]] = {}

    async def ask(self, question: Callable[[sa.Connection, *About], Answer], *about: *About) -> Answer:
        """What `question` answers of the database as it is now. The answer must follow from the database and from
        `about` alone and hold no secret in clear: it may be kept. Who asks the same at the same time shares it."""

        def answer() -> Answer:
            with self._database.read() as connection:
                return question(connection, *about)

        if not self._looked:
            self._look()
        if self._state is None:
            return await asyncio.to_thread(answer)
        asked = (question, *about)
        answering = self._answers.get(asked)
        if answering is None:
            answering = asyncio.create_task(asyncio.to_thread(answer))
            answering.add_done_callback(partial(self._drop_failed, asked))
            if len(self._answers) >= _MOST:
                del self._answers[next(iter(self._answers))]
            self._answers[asked] = answering
        if not answering.done():
            await asyncio.shield(answering)
        answered: Answer = answering.result()
        return answered

    def _look(self) -> None:
        """Once in a pass of the loop: whatever runs before the loop has forgotten it was there to run before it was
        looked, so nobody is told what was so before he asked."""
        state = self._database.state()
        if state != self._state:
            self._answers.clear()
            self._state = state
        self._looked = True
        asyncio.get_running_loop().call_soon(self._forget_look)

    def _forget_look(self) -> None:
        self._looked = False

    def _drop_failed(self, asked: tuple[Any, ...], answering: asyncio.Task[Any]) -> None:
        failed = answering.cancelled() or answering.exception() is not None
        if failed and self._answers.get(asked) is answering:
            del self._answers[asked]
