"""Options of commands that start a task, and their output: the result, or with `--wait` the progress of the task."""

from typing import Annotated, Any

from cyclopts import Parameter

from cachewright.cli.remote.output import print_json
from cachewright.cli.remote.watching import watch
from cachewright.client.errors import CommandFailed, RequestRefused
from cachewright.client.http import ApiClient

_RECENT = 50
_NOT_FOUND = 404

InWindow = Annotated[bool, Parameter(negative="", help="Begin in the maintenance window of the instance.")]
Wait = Annotated[bool, Parameter(negative="", help="Wait until the task has ended, and show its progress.")]


def follow(server: ApiClient, instance_id: str, result: Any, wait: bool, json: bool) -> None:
    """Print the result, or with `wait` follow the newest task. CommandFailed if that task fails
    or is cancelled."""
    if not wait:
        if json:
            print_json(result)
        else:
            print(result)
        return
    if not watch(server, [newest_task(server, instance_id)], json):
        raise CommandFailed("the task did not succeed")


def newest_task(server: ApiClient, instance_id: str) -> str:
    """Id of the newest task of the instance, also if that task has already deleted the instance."""
    try:
        return str(server.ask("GET", f"instances/{instance_id}/tasks", limit=1)["tasks"][0]["id"])
    except RequestRefused as refused:
        if refused.status != _NOT_FOUND:
            raise
        for task in server.ask("GET", "tasks", limit=_RECENT)["tasks"]:
            if server.ask("GET", f"tasks/{task['id']}")["instance_id"] == instance_id:
                return str(task["id"])
        raise
