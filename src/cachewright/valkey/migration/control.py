"""The port through which the owner of a task controls its slot migrations."""

from collections.abc import Awaitable, Callable
from typing import Protocol

from cachewright.model.tasks import MigrationMode


class MigrationControl(Protocol):
    """Current control settings. They may change while a range moves."""

    async def wait_until_allowed(self, exceeds_ceiling: Callable[[float], Awaitable[bool]]) -> None:
        """Wait until the next batches may start. If the task has a latency ceiling, `exceeds_ceiling` is called with it
        in seconds, and returns whether the present latency is above it."""

    def show(self, status: str) -> None:
        """Show that the move waits for its turn, which is a part of its pace. An empty text ends the display."""

    def begin_wait(self, status: str, *, cause: str = "", seconds: float = 0.0) -> None:
        """Record and show that the move has not been able to work for `seconds`. A repeated call changes the status; a
        wait for another cause follows the present one.

        :param cause: what it waits for, without the progress of the wait, if `status` shows it.
        """

    def end_wait(self) -> None:
        """Record that the move works again."""

    def is_cancelled(self) -> bool: ...

    async def is_throttled(self) -> bool:
        """Whether the next batch or range may have to wait (`wait_until_allowed`) and must not start early."""

    def mode(self) -> MigrationMode:
        """How the next batch moves if clients use the source."""
