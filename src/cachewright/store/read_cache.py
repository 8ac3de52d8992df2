"""Answers of the database that are kept until it changes: for what each request reads, and what clients poll.

A commit of any process drops all of them. So no client gets an outdated answer, and a write does not have to know who
has read what it changes.
"""

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

from cachewright.store.database import About, Answer, Database

_MOST = 4096


class ReadCache:
    """For one event loop."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._counter: object | None = None
        self._answers: dict[tuple[Any, ...], Any] = {}

    async def ask(self, question: Callable[[sa.Connection, *About], Answer], *about: *About) -> Answer:
        """Return what `question` reads from the database as it is now, with a few index look-ups. Raises
        DatabaseUnavailable.

        The answer must follow from the database and from `about` alone and hold no secret in clear: it may be kept.
        """
        counter = await self._database.change_counter()
        if counter != self._counter:
            self._answers.clear()
            self._counter = counter
        key = (question, *about)
        if key in self._answers:
            kept: Answer = self._answers[key]
            return kept
        answer = await self._database.answer(question, *about)
        if counter is not None and counter == self._counter:  # else it may be older than the counter
            self._keep(key, answer)
        return answer

    def _keep(self, key: tuple[Any, ...], answer: Any) -> None:
        if len(self._answers) >= _MOST:
            del self._answers[next(iter(self._answers))]
        self._answers[key] = answer
