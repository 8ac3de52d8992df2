"""The port of a migration to its sub-step and its record, in the server."""

from collections.abc import Collection

from cachewright.model.online_migrations import LogLevel, ResumeMode
from cachewright.operations.online_migrations.records import add_copied_libraries, record_of
from cachewright.operations.online_migrations.run import MigrationRun
from cachewright.tasks.operation import StepContext
from cachewright.valkey.sources.target import TargetMap


class StepCaller:
    """Implements `Caller`. Methods that read or change the record raise ActionFailed DCS.9020 if it was deleted."""

    def __init__(self, run: MigrationRun, step: StepContext) -> None:
        self._run = run
        self._step = step

    def raise_if_cancelled(self) -> None:
        self._step.raise_if_cancelled()

    async def wait_until_allowed(self) -> None:
        await self._step.wait_until_allowed()

    def begin_wait(self, status: str, *, cause: str = "") -> None:
        self._step.begin_wait(status, cause=cause)

    def end_wait(self) -> None:
        self._step.end_wait()

    def measure(self, done: float | None = None, detail: str | None = None) -> None:
        self._step.measure(done=done, detail=detail)

    def show(self, status: str) -> None:
        self._step.show(status)

    async def resume_mode(self) -> ResumeMode:
        return (await record_of(self._run.context, self._run.task)).resume_mode

    async def is_cut_over(self) -> bool:
        return (await record_of(self._run.context, self._run.task)).cut_over_at is not None

    async def find_target(self) -> TargetMap:
        return await self._run.find_target()

    async def keep_libraries(self, names: Collection[str]) -> None:
        await add_copied_libraries(self._run.context, self._run.task, names)

    async def note(self, level: LogLevel, message: str) -> None:
        await self._run.note(level, message)
