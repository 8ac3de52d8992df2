"""A cluster that Cachewright runs: a real server, driven through the cloud's own client."""

import tempfile
import time
from pathlib import Path
from typing import Self

import msgspec

from cachewright.cli.demo.cloud import Cloud, Instance, Size, TaskRow
from cachewright.cli.demo.server import ServerProcess, kill_left_behind
from cachewright.cli.demo.slot_client import Seed
from cachewright.cli.demo.watch import newest
from cachewright.client.account import Account
from cachewright.client.http import ApiClient
from cachewright.client.progress import Progress, Step

PASSWORD = "Bench-mark-1"
_POLL_SECONDS = 0.2  # the record of a task has exact times
_WITHIN_SECONDS = 900.0


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """A task that has succeeded. Epoch seconds; `begun` and `ended` are also on the monotonic clock."""

    row: TaskRow
    progress: Progress
    begun: float
    ended: float

    @property
    def seconds(self) -> float:
        return self.ended - self.begun

    def step(self, name: str) -> Step:
        return next(step for step in self.progress.steps if step.name.startswith(name))

    def step_seconds(self, name: str) -> float:
        step = self.step(name)
        assert step.begin
        assert step.end
        return (step.end - step.begin).total_seconds()

    def on_monotonic_clock(self) -> tuple[float, float]:
        offset = time.time() - time.monotonic()
        return self.begun - offset, self.ended - offset


class BenchCluster:
    def __init__(self, *arguments: str) -> None:
        """Start the server with additional arguments."""
        self._folder = tempfile.TemporaryDirectory(prefix="cachewright-bench-", ignore_cleanup_errors=True)
        self.root = Path(self._folder.name) / "data"
        self.server = ServerProcess(self.root, *arguments)
        self.cloud = Cloud(self.server.access)
        self.api = ApiClient(msgspec.convert(msgspec.to_builtins(self.server.access), Account))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.server.stop()
        kill_left_behind(self.root)
        self._folder.cleanup()

    def create(self, size: Size) -> str:
        """Create an instance, and return its id when it is RUNNING."""
        made = self.cloud.create("bench", size, PASSWORD)
        self.ended(made, frozenset())
        return made

    def resize(self, instance_id: str, size: Size, mode: str | None = None) -> Ended:
        """Resize, and wait for the end of the task. `mode` is the migration mode; by default that of the server."""
        known = self.known(instance_id)
        body = {"spec_code": size.spec_code, "new_capacity": size.capacity}
        self.api.ask("POST", f"instances/{instance_id}/resize", body | ({"migration_mode": mode} if mode else {}))
        return self.ended(instance_id, known)

    def known(self, instance_id: str) -> frozenset[str]:
        return frozenset(row.id for row in self.cloud.tasks(instance_id))

    def ended(self, instance_id: str, known: frozenset[str]) -> Ended:
        """Wait for the end of the newest task that is not in `known`. RuntimeError if it fails."""
        task_id = newest(self.cloud, instance_id, known).id
        deadline = time.monotonic() + _WITHIN_SECONDS
        while time.monotonic() < deadline:
            row = next(row for row in self.cloud.tasks(instance_id) if row.id == task_id)
            if row.ended:
                if row.status != "SUCCESS":
                    raise RuntimeError(f"{row.name} of {instance_id} is {row.status}")
                assert row.created
                assert row.updated
                progress = self.cloud.progress(instance_id, task_id)
                return Ended(row=row, progress=progress, begun=row.created.timestamp(), ended=row.updated.timestamp())
            time.sleep(_POLL_SECONDS)
        raise TimeoutError(f"task {task_id} does not end")

    def instance(self, instance_id: str) -> Instance:
        found = self.cloud.instance(instance_id)
        assert found
        return found

    def seed(self, instance_id: str) -> Seed:
        found = self.instance(instance_id)
        return Seed(found.ip, found.port, PASSWORD)

    def delete(self, instance_id: str) -> None:
        """Delete an instance, and return when it no longer exists."""
        self.cloud.delete(instance_id)
        while self.cloud.instance(instance_id):
            time.sleep(_POLL_SECONDS)
