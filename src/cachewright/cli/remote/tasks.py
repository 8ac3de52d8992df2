"""`cachewright tasks`."""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from cyclopts import App, Parameter

from cachewright.cli.remote.instances import found
from cachewright.cli.remote.output import AsJson, console, print_json, print_pairs, print_table
from cachewright.cli.remote.watching import read_progress, watch
from cachewright.cli.render.tree import Pen, tree
from cachewright.client.account import USUAL, Target
from cachewright.client.errors import CommandFailed
from cachewright.client.http import ApiClient

app = App(name="tasks", help="Background tasks of a server, over its API.")

_UNFINISHED = {"WAITING", "EXECUTING"}
_ALL = 1000

TaskId = Annotated[str, Parameter(help="Id of the task.")]


@app.command(name="list")
def show_all(
    *,
    target: Target = USUAL,
    instance: Annotated[str | None, Parameter(help="Only those of this instance, by id or name.")] = None,
    limit: Annotated[int, Parameter(help="How many, newest first.")] = 20,
    json: AsJson = False,
) -> None:
    """What is going on, and what has been."""
    server = ApiClient(target.account())
    path = f"instances/{found(server, instance)['instance_id']}/tasks" if instance else "tasks"
    body = server.ask("GET", path, limit=limit)
    if json:
        print_json(body)
        return
    columns = ("ID", "NAME", "STATUS", "CREATED", "ENDED", "BY", "ERROR")
    rows = [
        (
            one["id"],
            one["name"],
            one["status"],
            one["created_at"],
            one["updated_at"],
            one["user_name"],
            one["error_code"],
        )
        for one in body["tasks"]
    ]
    print_table(columns, rows)


@app.command
def show(task: TaskId, *, target: Target = USUAL, json: AsJson = False) -> None:
    """A task with its steps, and how well it predicted its end."""
    body = _record(ApiClient(target.account()), task)
    if json:
        print_json(body)
        return
    item = body["task"]
    print_pairs(
        [
            ("task", f"{item['name']} {item['id']}"),
            ("instance", body["instance_id"]),
            ("status", item["status"]),
            ("error", f"{item['error_code']} {body['message']}" if item["error_code"] else None),
            ("asked for", f"{item['created_at']} by {item['user_name']}: {item['params']}"),
            ("ended", item["updated_at"]),
            ("control", ", ".join(f"{name} {value}" for name, value in body["control"].items() if value is not None)),
        ]
    )
    target_console = console()
    pen = Pen(now=datetime.now(UTC), width=target_console.width, ascii_only=target_console.options.ascii_only)
    target_console.print(tree(pen, item["name"], read_progress(body["progress"])))
    judged = [forecast for forecast in body["forecasts"] if forecast["error"] is not None]
    if judged:
        told = ", ".join(f"{forecast['progress']} %: {forecast['error']:+.0%}" for forecast in judged)
        print(f"Its end was predicted too late (+) or too early (-), by share of its duration: {told}")


@app.command(name="watch")
def follow(*task: TaskId, target: Target = USUAL, json: AsJson = False) -> None:
    """Follow tasks until they have ended; without any, all that have not.

    Exits 0 where all ended well, 1 where one failed. With --json each change is a line.

    Example: cachewright tasks watch
    """
    server = ApiClient(target.account())
    ids = list(task) or _unfinished(server)
    if not ids:
        print("No task is going on.")
        return
    if not watch(server, ids, json):
        raise CommandFailed("a task has failed")


@app.command
def cancel(task: TaskId, *, target: Target = USUAL, json: AsJson = False) -> None:
    """End a task, and leave its instance in order."""
    _act(target, task, "cancel", json=json)


@app.command
def retry(task: TaskId, *, target: Target = USUAL, json: AsJson = False) -> None:
    """Go on with a task that has failed."""
    _act(target, task, "retry", json=json)


@app.command
def pause(task: TaskId, *, target: Target = USUAL, json: AsJson = False) -> None:
    """Hold a task back: it stops between ranges, with the cluster whole. Limits that it has stay."""
    _control(target, task, {"state": "paused"}, json=json)


@app.command
def resume(
    task: TaskId,
    *,
    target: Target = USUAL,
    parallel: Annotated[int | None, Parameter(help="How many ranges move at once.")] = None,
    latency_ceiling_ms: Annotated[
        float | None, Parameter(help="Take the time it needs for 99 of 100 requests to be answered faster.")
    ] = None,
    priority: Annotated[
        Literal["latency", "speed"] | None,
        Parameter(help="With speed, finish as fast as possible; clients may see higher latency."),
    ] = None,
    reset: Annotated[bool, Parameter(negative="", help="Drop the limits that no option names.")] = False,
    json: AsJson = False,
) -> None:
    """Let a task go on. Limits that no option names stay as they are."""
    named = {"parallel": parallel, "latency_ceiling_ms": latency_ceiling_ms, "priority": priority}
    changes = {"state": "running"} | {name: value for name, value in named.items() if value is not None}
    _control(target, task, changes, reset=reset, json=json)


def _control(target: Target, task: str, changes: dict[str, Any], *, reset: bool = False, json: bool) -> None:
    """Replace the members of the task's control that `changes` names; with `reset` the others get their defaults."""
    server = ApiClient(target.account())
    record = _record(server, task)
    present = {} if reset else record["control"]
    answer = server.ask("PUT", f"{_path(record)}/control", present | changes)
    _print_answer(answer, "control", json=json)


def _act(target: Target, task: str, action: str, *, json: bool) -> None:
    server = ApiClient(target.account())
    answer = server.ask("POST", f"{_path(_record(server, task))}/{action}")
    _print_answer(answer, action, json=json)


def _path(record: Any) -> str:
    return f"instances/{record['instance_id']}/tasks/{record['task']['id']}"


def _print_answer(answer: Any, action: str, *, json: bool) -> None:
    if json:
        print_json(answer)
    else:
        print(f"{answer['task']['name']} {answer['task']['id']}: {action} was asked for")


def _record(server: ApiClient, task: str) -> Any:
    return server.ask("GET", f"tasks/{task}")


def _unfinished(server: ApiClient) -> list[str]:
    """Oldest first."""
    newest = server.ask("GET", "tasks", limit=_ALL)["tasks"]
    return [one["id"] for one in reversed(newest) if one["status"] in _UNFINISHED]
