"""`cachewright tasks`."""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from cyclopts import App, Parameter

from cachewright.cli.remote.lookup import found
from cachewright.cli.remote.modes import Mode
from cachewright.cli.remote.output import AsJson, console, print_json, print_pairs, print_table
from cachewright.cli.remote.task_ids import ALL, TaskId, full_id
from cachewright.cli.remote.watching import read_record, watch
from cachewright.cli.render.tree import Pen, tree
from cachewright.cli.render.waits import ago
from cachewright.client.account import DEFAULT_TARGET, Target
from cachewright.client.errors import CommandFailed
from cachewright.client.http import ApiClient

app = App(name="tasks", help="Background tasks, over the API.")

_UNFINISHED = {"WAITING", "EXECUTING"}
_MODE_OF_PRIORITY = {"speed": "fastest", "latency": "balanced"}


@app.command(name="list")
def show_all(
    *,
    target: Target = DEFAULT_TARGET,
    instance: Annotated[str | None, Parameter(help="Only tasks of this instance (id or name).")] = None,
    limit: Annotated[int, Parameter(help="Maximum number of tasks.")] = 20,
    json: AsJson = False,
) -> None:
    """List the tasks of the project, newest first."""
    server = ApiClient(target.account())
    path = f"instances/{found(server, instance)['instance_id']}/tasks" if instance else "tasks"
    body = server.ask("GET", path, limit=limit)
    if json:
        print_json(body)
        return
    columns = ("ID", "NAME", "STATUS", "CREATED", "ENDED", "STARTED BY", "ERROR")
    rows = [
        (
            task["id"],
            task["name"],
            task["status"],
            task["created_at"],
            task["updated_at"],
            task["user_name"],
            task["error_code"],
        )
        for task in body["tasks"]
    ]
    print_table(columns, rows)


@app.command
def show(task: TaskId, *, target: Target = DEFAULT_TARGET, json: AsJson = False) -> None:
    """Show a task with its steps and the accuracy of its estimates."""
    body = _record(ApiClient(target.account()), task)
    if json:
        print_json(body)
        return
    item, progress, now = body["task"], read_record(body), datetime.now(UTC)
    print_pairs(
        [
            ("task", f"{item['name']} {item['id']}"),
            ("instance", body["instance_id"]),
            ("status", item["status"]),
            ("error", f"{item['error_code']} {body['message']}" if item["error_code"] else None),
            ("warning", body["message"] if body["message"] and not item["error_code"] else None),
            ("created", f"{item['created_at']} by {item['user_name']}: {item['params']}"),
            ("ended", item["updated_at"]),
            ("control", ", ".join(f"{name} {value}" for name, value in body["control"].items() if value is not None)),
            ("last progress", ago(progress.heartbeat, now) if progress.heartbeat and not item["updated_at"] else None),
        ]
    )
    target_console = console()
    pen = Pen(now=now, width=target_console.width, ascii_only=target_console.options.ascii_only)
    target_console.print(tree(pen, item["name"], progress))
    checked = [forecast for forecast in body["forecasts"] if forecast["error"] is not None]
    if checked:
        errors = ", ".join(f"{forecast['progress']} %: {forecast['error']:+.0%}" for forecast in checked)
        print(f"Errors of the estimated end, as a share of the duration (+ too late, - too early): {errors}")


@app.command(name="watch")
def follow(*task: TaskId, target: Target = DEFAULT_TARGET, json: AsJson = False) -> None:
    """Follow tasks until they have ended; without ids, all unfinished tasks.

    Exits with 0 if all tasks succeeded, with 1 if one failed or was cancelled. With --json, each change is one line.

    Example: cachewright tasks watch
    """
    server = ApiClient(target.account())
    ids = list(task) or _unfinished(server)
    if not ids:
        print("No unfinished tasks.")
        return
    if not watch(server, [full_id(server, task_id) for task_id in ids], json):
        raise CommandFailed("not all tasks have succeeded")


@app.command
def cancel(task: TaskId, *, target: Target = DEFAULT_TARGET, json: AsJson = False) -> None:
    """Cancel a task. The instance stays healthy; finished ranges are not moved back."""
    _act(target, task, "cancel", "Cancellation requested", json=json)


@app.command
def retry(task: TaskId, *, target: Target = DEFAULT_TARGET, json: AsJson = False) -> None:
    """Retry a failed or cancelled task. Finished steps, its mode and its limits are kept."""
    _act(target, task, "retry", "Retry requested", json=json)


@app.command
def pause(task: TaskId, *, target: Target = DEFAULT_TARGET, json: AsJson = False) -> None:
    """Pause a task between two ranges of slots. The cluster stays healthy; limits are kept."""
    _control(target, task, {"state": "paused"}, "Paused", json=json)


@app.command
def resume(
    task: TaskId,
    *,
    target: Target = DEFAULT_TARGET,
    parallel: Annotated[int | None, Parameter(help="Maximum number of ranges that move concurrently.")] = None,
    latency_ceiling_ms: Annotated[
        float | None, Parameter(help="Slow down so that 99 of 100 client requests take less time than this.")
    ] = None,
    mode: Mode = None,
    priority: Annotated[
        Literal["latency", "speed"] | None,
        Parameter(help="Deprecated: speed is --mode fastest, latency is --mode balanced."),
    ] = None,
    reset: Annotated[bool, Parameter(negative="", help="Reset limits that no option sets.")] = False,
    json: AsJson = False,
) -> None:
    """Resume a task. Limits that no option sets are kept."""
    named = {
        "parallel": parallel,
        "latency_ceiling_ms": latency_ceiling_ms,
        "mode": mode or (_MODE_OF_PRIORITY[priority] if priority else None),
    }
    changes = {"state": "running"} | {name: value for name, value in named.items() if value is not None}
    _control(target, task, changes, "Resumed", reset=reset, json=json)


def _control(
    target: Target, task: str, changes: dict[str, Any], message: str, *, reset: bool = False, json: bool
) -> None:
    """Change control settings of a task; with `reset`, all others get their defaults. Print `message`."""
    server = ApiClient(target.account())
    record = _record(server, task)
    present = {} if reset else record["control"]
    answer = server.ask("PUT", f"{_path(record)}/control", present | changes)
    _print_result(answer, message, json=json)


def _act(target: Target, task: str, action: str, message: str, *, json: bool) -> None:
    server = ApiClient(target.account())
    answer = server.ask("POST", f"{_path(_record(server, task))}/{action}")
    _print_result(answer, message, json=json)


def _path(record: Any) -> str:
    return f"instances/{record['instance_id']}/tasks/{record['task']['id']}"


def _print_result(answer: Any, message: str, *, json: bool) -> None:
    if json:
        print_json(answer)
    else:
        print(f"{message}: {answer['task']['name']} {answer['task']['id']}")


def _record(server: ApiClient, task: str) -> Any:
    return server.ask("GET", f"tasks/{full_id(server, task)}")


def _unfinished(server: ApiClient) -> list[str]:
    """Ids of unfinished tasks, oldest first."""
    newest = server.ask("GET", "tasks", limit=ALL)["tasks"]
    return [task["id"] for task in reversed(newest) if task["status"] in _UNFINISHED]
