"""The port from a migration to its sub-step and its record."""

from collections.abc import Collection
from typing import Protocol

from cachewright.model.online_migrations import LogLevel, ResumeMode
from cachewright.valkey.sources.target import TargetMap


class Caller(Protocol):
    """The sub-step for which a part of a migration runs, and the record of the migration. The server has both; an agent
    knows what the server sends."""

    def raise_if_cancelled(self) -> None:
        """End the part if the task is cancelled. No effect in an agent, whose server ends the job."""

    async def wait_until_allowed(self) -> None:
        """Wait while the task is paused. Raises as `raise_if_cancelled`."""

    def begin_wait(self, status: str, *, cause: str = "") -> None:
        """Record and show that the part cannot work now; see `StepContext.begin_wait`."""

    def end_wait(self) -> None: ...

    def measure(self, done: float | None = None, detail: str | None = None) -> None:
        """Report progress; see `StepContext.measure`."""

    def show(self, status: str) -> None:
        """Show what is a part of the work. An empty text ends the display."""

    async def resume_mode(self) -> ResumeMode:
        """Return what its owner wants now."""

    async def is_cut_over(self) -> bool:
        """Whether its owner has said that the source gets no more writes."""

    async def find_target(self) -> TargetMap:
        """Return the present owners of the slots of the instance. Raises TargetNotReady."""

    async def keep_libraries(self, names: Collection[str]) -> None:
        """Store the names of all function libraries that are copied, or will be. Returns when they are stored."""

    async def note(self, level: LogLevel, message: str) -> None:
        """Add an entry to the log of the migration."""
