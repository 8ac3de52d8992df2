"""The demo's one instance, from its creation to its deletion, each of its tasks drawn while it runs."""

import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self

from rich.console import Console

from cachewright.cli.demo.cloud import Cloud, CloudRefused, Instance, Size
from cachewright.cli.demo.draw import ProgressView
from cachewright.cli.demo.owners import Seed
from cachewright.cli.demo.watch import Watched, follow, newest

_NAME = "cachewright-demo"
_SETTLES_WITHIN_SECONDS = 120.0
_POLL_SECONDS = 0.1


class TaskFailed(Exception):
    """A task of the instance did not end well, or the instance is not what it should be after it."""


_UNDONE = (CloudRefused, TaskFailed)


class DemoInstance:
    def __init__(self, cloud: Cloud, console: Console, size: Size) -> None:
        """Asks for the instance. It is deleted at the end of the `with` block, whatever becomes of it."""
        self.note: Callable[[], str] = str
        self._cloud = cloud
        self._console = console
        self._password = f"{secrets.token_urlsafe(15)}-aA1"
        self._size = size
        self._id = cloud.create(_NAME, size, self._password)
        self._known: frozenset[str] = frozenset()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Deletes the instance. If that fails too, it is not what the user has to hear of first."""
        with suppress(*(_UNDONE if error else ())):
            self.delete()

    def created(self) -> Watched:
        """Returns when the instance runs."""
        watched = self._watch(f"Create {self._size.shards} shards of {self._size.shard_gb} GB")
        self._settle(lambda: self._instance().status == "RUNNING", "the instance is created and does not run")
        return watched

    def scale(self, shards: int) -> Watched:
        """Returns when the resize has ended well."""
        title = f"Scale from {self._size.shards} to {shards} shards"
        self._size = Size(shards, self._size.shard_gb)
        self._cloud.resize(self._id, self._size)
        return self._watch(title)

    def seed(self) -> Seed:
        instance = self._instance()
        return Seed(instance.ip, instance.port, self._password)

    def delete(self) -> None:
        """Returns when the instance is gone. Waits for a task that is in the way."""
        self._console.print("Deleting the instance")
        self._settle(self._delete_accepted, "the instance cannot be deleted")
        self._settle(lambda: self._cloud.instance(self._id) is None, "the instance is not gone")

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
            raise TaskFailed("the instance is gone")
        return instance

    def _watch(self, title: str) -> Watched:
        """Draws the task that has just been submitted, until it ends."""
        task = newest(self._cloud, self._id, self._known)
        self._known |= {task.id}
        with ProgressView(self._console, title) as drawing:
            watched = follow(self._cloud, self._id, task.id, lambda progress: drawing.show(progress, self.note()))
        if not watched.succeeded:
            reasons = [
                f"{sub.name}: {sub.error_code} {sub.detail}" for sub in watched.last.sub_steps() if sub.error_code
            ]
            raise TaskFailed(f"{title}: {watched.row.status}. {'; '.join(reasons)}".strip())
        return watched

    @staticmethod
    def _settle(condition: Callable[[], bool], failure: str) -> None:
        deadline = time.monotonic() + _SETTLES_WITHIN_SECONDS
        while not condition():
            if time.monotonic() > deadline:
                raise TaskFailed(f"{failure}, after {_SETTLES_WITHIN_SECONDS:.0f} s")
            time.sleep(_POLL_SECONDS)
