"""Follow tasks: a tree on a terminal, one line per change elsewhere, or JSON lines.

The output shows the server's events. A lost connection is opened again; a task does not end with its stream.
"""

import asyncio
import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from cachewright.cli import garbage
from cachewright.cli.remote.output import console, size
from cachewright.cli.remote.task_ids import short_id
from cachewright.cli.render.changes import changes
from cachewright.cli.render.tree import Pen, tree
from cachewright.cli.render.waits import left
from cachewright.client.errors import CommandFailed, RequestRefused, Unreachable
from cachewright.client.http import ApiClient
from cachewright.client.progress import Progress, Step, SubStep, parse_time, read_waits

_DRAWN_SECONDS = 0.125
_RETRY_SECONDS = 1.0
_UNREACHABLE_SECONDS = 120.0
_PROGRESS_EVENTS = ("progress", "end")
_NOT_FOUND = 404
_ENDED = {"SUCCESS", "FAILED"}
_CANCELLED = "DCS.9005"
_SPEED_SECONDS = 3.0


class Followed:
    """Latest known state of one task."""

    def __init__(self, record: dict[str, Any]) -> None:
        self.record = record
        self.progress = read_record(record)
        self.note = ""
        self._samples: list[tuple[float, int]] = []

    @property
    def title(self) -> str:
        return f"{self.record['task']['name']} {short_id(self.record['task']['id'])}"

    @property
    def status(self) -> str:
        return str(self.record["task"]["status"])

    def update(self, body: dict[str, Any], now: float) -> None:
        self.progress, self.note = read_progress(body), ""
        moved = sum(sub.migration.bytes for sub in self.progress.sub_steps() if sub.migration)
        self._samples = [sample for sample in self._samples if now - sample[0] <= _SPEED_SECONDS] + [(now, moved)]

    def speed(self) -> str:
        """Bytes per second over the last few seconds, by the counters of the nodes."""
        if len(self._samples) < 2 or self.status in _ENDED:
            return ""
        (begin, before), (end, after) = self._samples[0], self._samples[-1]
        return f"{size((after - before) / (end - begin))}/s" if after > before and end > begin else ""

    @property
    def is_cancelled(self) -> bool:
        return bool(self.record["task"]["error_code"] == _CANCELLED)

    def outcome(self) -> str:
        task = self.record["task"]
        if self.is_cancelled:
            return f"{task['name']} {task['id']} was cancelled"
        reason = " ".join(filter(None, (task["error_code"], self.record["message"])))
        why = f": {reason}" if reason else ""
        return f"{task['name']} {task['id']} {task['status']}{why}"


def watch(server: ApiClient, task_ids: Sequence[str], as_json: bool) -> bool:
    """Wait until all tasks have ended. True if all succeeded."""
    garbage.collect_as_usual()
    return asyncio.run(_watch(server, task_ids, as_json))


async def _watch(server: ApiClient, task_ids: Sequence[str], as_json: bool) -> bool:
    async with server.connected() as http:
        tasks = [Followed(await server.asked(http, "GET", f"tasks/{task_id}")) for task_id in task_ids]
        screen = _JsonLines() if as_json else _TerminalTree(console()) if console().is_terminal else _Lines(console())
        following = [asyncio.create_task(_follow(server, http, task, screen)) for task in tasks]
        try:
            with screen:
                while not all(follower.done() for follower in following):
                    screen.draw(tasks)
                    await asyncio.wait(following, timeout=_DRAWN_SECONDS, return_when=asyncio.FIRST_EXCEPTION)
                    for follower in following:
                        if follower.done():
                            follower.result()
                screen.draw(tasks)
        finally:
            for follower in following:
                follower.cancel()
    if not as_json:
        for task in tasks:
            console().print(Text(task.outcome(), _style(task)), soft_wrap=True)
    return all(task.status == "SUCCESS" for task in tasks)


async def _follow(server: ApiClient, http: Any, task: Followed, screen: "_Screen") -> None:
    """Follow a task until it has ended. Unreachable if the server does not respond for two minutes."""
    instance_id, task_id = task.record["instance_id"], task.record["task"]["id"]
    clock = asyncio.get_running_loop().time
    last_event = clock()
    while task.status not in _ENDED:
        try:
            async for name, body in server.events(http, f"instances/{instance_id}/tasks/{task_id}/progress"):
                if name not in _PROGRESS_EVENTS:
                    continue  # the server ends the stream; the next request returns the reason
                last_event = clock()
                task.update(body, last_event)
                screen.changed(task, body)
            task.record = await server.asked(http, "GET", f"tasks/{task_id}")
        except Unreachable as error:
            if clock() - last_event > _UNREACHABLE_SECONDS:
                raise
            task.note = f"{error}; retrying"
            await asyncio.sleep(_RETRY_SECONDS)
        except RequestRefused as refused:
            if refused.status not in {_NOT_FOUND, 429, 503}:
                raise CommandFailed(f"task {task_id}: {refused}") from refused
            if refused.status == _NOT_FOUND:  # the task may have deleted its instance; its record remains
                task.record = await server.asked(http, "GET", f"tasks/{task_id}")
            if task.status not in _ENDED:
                await asyncio.sleep(_RETRY_SECONDS)
    body = task.record["progress"]
    task.update(task.record | body, clock())
    screen.changed(task, body)


def _style(task: Followed) -> str:
    if task.is_cancelled:
        return "bold yellow"
    return "bold green" if task.status == "SUCCESS" else "bold red"


class _Screen:
    """Output of tasks: `changed` runs for each event, `draw` several times a second."""

    def __enter__(self) -> "_Screen":
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def changed(self, task: Followed, body: dict[str, Any]) -> None:
        return None

    def draw(self, tasks: Sequence[Followed]) -> None:
        return None


class _JsonLines(_Screen):
    """One line of JSON per change, as the API sent it."""

    def changed(self, task: Followed, body: dict[str, Any]) -> None:
        line = {"task_id": task.record["task"]["id"], "status": task.status, "progress": body}
        sys.stdout.write(json.dumps(line, ensure_ascii=False) + "\n")
        sys.stdout.flush()


class _Lines(_Screen):
    def __init__(self, target: Console) -> None:
        self._console = target
        self._before: dict[str, Progress] = {}

    def changed(self, task: Followed, body: dict[str, Any]) -> None:
        progress = task.progress
        for line in changes(self._before.get(task.title), progress):
            head = f"{task.title} {progress.percent:3d} % {left(progress):>9}  "
            self._console.print(Text(head + line), soft_wrap=True)
        self._before[task.title] = progress


class _TerminalTree(_Screen):
    def __init__(self, target: Console) -> None:
        self._console = target
        self._live = Live(console=target, auto_refresh=False, vertical_overflow="ellipsis")

    def __enter__(self) -> "_Screen":
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def draw(self, tasks: Sequence[Followed]) -> None:
        pen = Pen(now=datetime.now(UTC), width=self._console.width, ascii_only=self._console.options.ascii_only)
        height = max(self._console.height // max(len(tasks), 1) - 2, 4)
        parts: list[RenderableType] = []
        for task in tasks:
            title = "  ".join(filter(None, (task.title, pen.elapsed(*_begun(task.progress)), task.speed())))
            parts.append(tree(pen, title, task.progress, height=height))
            if task.note:
                parts.append(Text(f"  {task.note}", style="yellow"))
        self._live.update(Group(*parts), refresh=True)


def read_record(record: dict[str, Any]) -> Progress:
    """Decode the record of a task."""
    return read_progress(record | record["progress"])


def read_progress(body: dict[str, Any]) -> Progress:
    """Decode the body of ShowBackgroundTaskProgress, or an event of a task, which has more members."""
    return Progress(
        percent=body["progress"],
        remaining=body["remain_time"],
        low=body.get("remain_low"),
        high=body.get("remain_high"),
        effort=body.get("effort", 1.0),
        heartbeat=parse_time(body.get("heartbeat")),
        waits=read_waits(body.get("waiting", ())),
        steps=tuple(_step(step) for step in body["step_details"]),
    )


def _step(step: dict[str, Any]) -> Step:
    return Step(
        name=step["step_name"],
        status=step["step_status"],
        begin=parse_time(step["begin_time"]),
        end=parse_time(step["end_time"]),
        error_code=step["error_code"] or "",
        sub_steps=tuple(_sub_step(sub_step) for sub_step in step["sub_step_details"]),
    )


def _sub_step(sub_step: dict[str, Any]) -> SubStep:
    return SubStep(
        name=sub_step["sub_step_name"],
        status=sub_step["sub_step_status"],
        begin=parse_time(sub_step["begin_time"]),
        end=parse_time(sub_step["end_time"]),
        detail=sub_step["detail"],
        error_code=sub_step["error_code"] or "",
    )


def _begun(progress: Progress) -> tuple[datetime | None, datetime | None]:
    """First begin; and the last end, if all steps that began have ended."""
    begins = [step.begin for step in progress.steps if step.begin]
    ends = [step.end for step in progress.steps if step.begin]
    ended = [end for end in ends if end]
    return (min(begins) if begins else None), (max(ended) if ended and len(ended) == len(ends) else None)
