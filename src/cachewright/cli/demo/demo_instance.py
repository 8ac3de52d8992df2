"""The demo's instances: creates, scales and deletes them, and shows the tasks of the cluster."""

import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self

import msgspec
from rich.console import Console

from cachewright.cli.demo.cloud import Cloud, CloudRefused, Instance, Single, Size
from cachewright.cli.demo.progress_view import ProgressView
from cachewright.cli.demo.slot_client import Seed
from cachewright.cli.demo.watch import Watched, follow, newest

_NAME = "cachewright-demo"
_SETTLES_WITHIN_SECONDS = 120.0
_POLL_SECONDS = 0.1


class TaskFailed(Exception):
    """A task failed, or the instance is not in the expected state after it."""


_CLEANUP_ERRORS = (CloudRefused, TaskFailed)


class OwnInstance:
    """An instance of the demo. The end of the `with` block deletes it."""

    def __init__(self, cloud: Cloud, console: Console, name: str, size: Size | Single, label: str) -> None:
        """Request the instance. `label` is its name in messages."""
        self._cloud = cloud
        self._console = console
        self._label = label
        self._password = f"{secrets.token_urlsafe(15)}-aA1"
        self._id = cloud.create(name, size, self._password)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Delete the instance. An earlier error takes precedence over an error of the deletion."""
        with suppress(*(_CLEANUP_ERRORS if error else ())):
            self.delete()

    def wait_until_running(self) -> None:
        self._settle(lambda: self._instance().status == "RUNNING", "the instance was created but does not run")

    def seed(self) -> Seed:
        instance = self._instance()
        return Seed(instance.ip, instance.port, self._password)

    def delete(self) -> None:
        """Delete the instance and wait until it no longer exists. Waits for a task that blocks the deletion."""
        self._console.print(f"Deleting {self._label}")
        self._settle(self._delete_accepted, "the instance cannot be deleted")
        self._settle(lambda: self._cloud.instance(self._id) is None, "the instance still exists")

    def _delete_accepted(self) -> bool:
        try:
            self._cloud.delete(self._id)
        except CloudRefused as refused:
            if refused.status == 404:
                return True
            if refused.status != 400:
                raise
            return False
        return True

    def _instance(self) -> Instance:
        instance = self._cloud.instance(self._id)
        if instance is None:
            raise TaskFailed("the instance does not exist")
        return instance

    @staticmethod
    def _settle(condition: Callable[[], bool], failure: str) -> None:
        deadline = time.monotonic() + _SETTLES_WITHIN_SECONDS
        while not condition():
            if time.monotonic() > deadline:
                raise TaskFailed(f"{failure}, after {_SETTLES_WITHIN_SECONDS:.0f} s")
            time.sleep(_POLL_SECONDS)


class DemoInstance(OwnInstance):
    """The cluster that the demo scales."""

    def __init__(self, cloud: Cloud, console: Console, size: Size) -> None:
        """Request the instance."""
        super().__init__(cloud, console, _NAME, size, "the instance")
        self.note: Callable[[], str] = str
        self._size = size
        self._known: frozenset[str] = frozenset()

    def created(self) -> Watched:
        """Wait until the instance runs."""
        watched = self._watch(f"Create {self._size.shards} shards of {self._size.shard_gb} GB")
        self.wait_until_running()
        return watched

    def planned_seconds(self, shards: int) -> float:
        """Expected duration of a resize, which is not started."""
        return self._cloud.planned_seconds(self._id, Size(shards, self._size.shard_gb))

    def scale(self, shards: int, planned: float) -> Watched:
        """Resize and wait for success. `planned` are the expected seconds."""
        title = f"Scale from {self._size.shards} to {shards} shards, in {planned:.1f} s as planned"
        self._size = Size(shards, self._size.shard_gb)
        self._cloud.resize(self._id, self._size)
        return msgspec.structs.replace(self._watch(title), planned=planned)

    def _watch(self, title: str) -> Watched:
        """Show the newest task until it ends."""
        task = newest(self._cloud, self._id, self._known)
        self._known |= {task.id}
        with ProgressView(self._console, title) as view:
            watched = follow(self._cloud, self._id, task.id, lambda progress: view.show(progress, self.note()))
        if not watched.succeeded:
            reasons = [
                f"{sub.name}: {sub.error_code} {sub.detail}" for sub in watched.last.sub_steps() if sub.error_code
            ]
            raise TaskFailed(f"{title}: {watched.row.status}. {'; '.join(reasons)}".strip())
        return watched
