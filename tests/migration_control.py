"""A control of slot migrations that holds nothing back."""

from collections.abc import Awaitable, Callable

from cachewright.model.tasks import MigrationMode


class Unhindered:
    """Implements `MigrationControl`. Tests override what they are about."""

    async def wait_until_allowed(self, exceeds_ceiling: Callable[[float], Awaitable[bool]]) -> None:
        return

    def show(self, status: str) -> None:
        return

    def begin_wait(self, status: str, *, cause: str = "", seconds: float = 0.0) -> None:
        return

    def end_wait(self) -> None:
        return

    def is_cancelled(self) -> bool:
        return False

    async def is_throttled(self) -> bool:
        return False

    def mode(self) -> MigrationMode:
        return "balanced"
