"""Ids of tasks on the command line. They begin with the time, so the last characters tell them apart."""

from typing import Annotated

from cyclopts import Parameter

from cachewright.client.errors import CommandFailed
from cachewright.client.http import ApiClient

ALL = 1000
"""Maximum number of tasks that are listed."""

_LENGTH = 32
_SHORT = 8

TaskId = Annotated[str, Parameter(help="Id of the task, or its last characters.")]


def short_id(task_id: str) -> str:
    return task_id[-_SHORT:]


def full_id(server: ApiClient, task: str) -> str:
    """Return the id of the task whose id ends with these characters. CommandFailed if none or several do."""
    if len(task) >= _LENGTH:
        return task
    listed = server.ask("GET", "tasks", limit=ALL)["tasks"]
    ids = [str(item["id"]) for item in listed if item["id"].endswith(task)]
    if not ids:
        raise CommandFailed(f"there is no task whose id ends with {task!r}")
    if len(ids) > 1:
        raise CommandFailed(f"the ids of {len(ids)} tasks end with {task!r}: {', '.join(ids)}")
    return ids[0]
