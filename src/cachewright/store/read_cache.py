"""Answers that are kept until the database changes: for what is asked for with every request, or over and over.

Whatever is committed, by whichever process, drops all of them: nobody is shown what is no longer so, and no write has
to know who reads it. Questions are small, and SQLite keeps no reader waiting for a writer, so they are answered on the
event loop: the way into a thread and back takes longer than the answer.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar, TypeVarTuple

import sqlalchemy as sa

from cachewright.store.database import Database

Answer = TypeVar("Answer")
About = TypeVarTuple("About")

_MOST = 4096


class ReadCache:
    """For one event loop."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._state: int | None = None
        self._looked = False
        self._answers: dict[tuple[Any, ...], Any] = {}

    async def ask(self, question: Callable[[sa.Connection, *About], Answer], *about: *About) -> Answer:
        """What `question` answers of the database as it is now, by a few reads through an index. The answer must follow
        from the database and from `about` alone and hold no secret in clear: it may be kept."""
        if not self._looked:
            self._look()
        asked = (question, *about)
        if asked in self._answers:
            kept: Answer = self._answers[asked]
            return kept
        if self._state is not None:
            with suppress(sa.exc.OperationalError), self._database.glance() as connection:
                answer = question(connection, *about)
                self._keep(asked, answer)
                return answer

        def read() -> Answer:
            with self._database.read() as connection:
                return question(connection, *about)

        return await asyncio.to_thread(read)  # where it may wait for whoever holds the database

    def _keep(self, asked: tuple[Any, ...], answer: Any) -> None:
        if len(self._answers) >= _MOST:
            del self._answers[next(iter(self._answers))]
        self._answers[asked] = answer

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
