"""Cache of query results that are valid until the database changes: for queries of every request, and for polling.

A commit of any process invalidates all entries. So clients never get outdated results, and writers need no knowledge
of the cache.
"""

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

from cachewright.store.database import About, Answer, Database

_MOST = 4096


class ReadCache:
    """Cached results, at most 4096. For one event loop."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._counter: object | None = None
        self._answers: dict[tuple[Any, ...], Any] = {}

    async def ask(self, question: Callable[[sa.Connection, *About], Answer], *about: *About) -> Answer:
        """Return the result of the query `question` on the current database. Raises DatabaseUnavailable.

        The query must need only a few index look-ups. Its result may be cached, so it must depend only on the database
        and on `about`, and must not contain a secret in clear.
        """
        counter = await self._database.change_counter()
        if counter != self._counter:
            self._answers.clear()
            self._counter = counter
        key = (question, *about)
        if key in self._answers:
            cached: Answer = self._answers[key]
            return cached
        answer = await self._database.answer(question, *about)
        if counter is not None and counter == self._counter:  # otherwise it may be older than the counter
            self._keep(key, answer)
        return answer

    def _keep(self, key: tuple[Any, ...], answer: Any) -> None:
        if len(self._answers) >= _MOST:
            del self._answers[next(iter(self._answers))]
        self._answers[key] = answer
