"""Many concurrent tasks: restarts of real nodes, requested at the same time. A server may be killed meanwhile."""

import asyncio
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import psycopg

from bench.load_installation import Installation
from bench.load_measure import p99
from cachewright.client.account import Account
from cachewright.client.errors import RequestRefused, Unreachable
from cachewright.client.http import ApiClient

_AT_ONCE = 16
_POLL_SECONDS = 0.1
_END_SECONDS = 1200.0
_KILLED_AFTER = 0.2
"""Share of the tasks that have ended when the server is killed."""

_ENDED = "SELECT count(*) FROM tasks WHERE id = ANY(%s) AND end_time IS NOT NULL"
_REVISIONS = "SELECT coalesce(sum(revision), 0) FROM tasks WHERE id = ANY(%s)"
_NEW = "SELECT id FROM tasks WHERE kind = 'restart' AND created_at >= %s ORDER BY id"


class Requested(msgspec.Struct, frozen=True):
    """:ivar wanted: number of tasks whose request was answered with success.
    :ivar refused: number of the other requests: refused, or not answered in time.
    :ivar epoch: of the claim to perform tasks, before the first request.
    :ivar seconds: time of each request.
    """

    wanted: int
    refused: int
    epoch: int
    ids: Sequence[str]
    seconds: Sequence[float]


class Takeover(msgspec.Struct, frozen=True):
    """Seconds from the death of a server until another one has the claim, and until it has changed a task."""

    claim_seconds: float
    progress_seconds: float


def request(installation: Installation, count: int, connection: psycopg.Connection[Any]) -> Requested:
    """Request the restart of so many instances, as fast as the other server answers."""
    account = msgspec.convert(msgspec.to_builtins(installation.servers[1].access), Account)
    chosen = installation.running[:count]
    begun, epoch = round(time.time() * 1000), _epoch(connection)
    answered = asyncio.run(_restart(ApiClient(account), chosen))
    taken = [seconds for seconds in answered if seconds is not None]
    ids = [row[0] for row in connection.execute(_NEW, [begun])]
    return Requested(len(taken), len(chosen) - len(taken), epoch, ids, taken)


async def _restart(client: ApiClient, instance_ids: Sequence[str]) -> list[float | None]:
    """Return the seconds of each request, None for one without success."""
    room = asyncio.Semaphore(_AT_ONCE)

    async def one(instance_id: str, http: Any) -> float | None:
        async with room:
            begun = time.perf_counter()
            asked = {"instances": [instance_id], "action": "restart"}
            try:
                answer = await client.asked(http, "PUT", "instances/status", asked)
            except (RequestRefused, Unreachable):
                return None
            return time.perf_counter() - begun if answer["results"][0]["result"] == "success" else None

    async with client.connected() as http:
        return await asyncio.gather(*(one(instance_id, http) for instance_id in instance_ids))


def wait(connection: psycopg.Connection[Any], requested: Requested, share: float = 1.0) -> None:
    """Wait until this share of the tasks has ended. TimeoutError if they do not end."""
    begun = time.monotonic()
    while _count(connection, _ENDED, requested) < share * len(requested.ids):
        if time.monotonic() - begun > _END_SECONDS:
            raise TimeoutError(f"{_count(connection, _ENDED, requested)} of {len(requested.ids)} tasks have ended")
        time.sleep(_POLL_SECONDS)


def kill(installation: Installation, connection: psycopg.Connection[Any], requested: Requested) -> Takeover:
    """Kill the server with the claim in the middle of the tasks, and return when another one performs them."""
    wait(connection, requested, _KILLED_AFTER)
    installation.servers[0].kill()
    begun, epoch = time.monotonic(), _epoch(connection)
    written = _count(connection, _REVISIONS, requested)
    claimed = _until(lambda: _epoch(connection) > epoch) - begun
    changed = _until(lambda: _count(connection, _REVISIONS, requested) > written) - begun
    return Takeover(claimed, changed)


def figures(connection: psycopg.Connection[Any], requested: Requested) -> dict[str, float]:
    """Return figures of tasks that have ended. Without a code is a failure that says no cause."""
    rows = connection.execute(
        "SELECT status, (end_time - created_at) / 1000.0, (begin_time - created_at) / 1000.0, end_time, created_at, "
        "error_code FROM tasks WHERE id = ANY(%s)",
        [list(requested.ids)],
    ).fetchall()
    seconds, begins = [float(row[1]) for row in rows], [float(row[2]) for row in rows]
    return {
        "requested": requested.wanted,
        "refused": requested.refused,
        "lost": max(requested.wanted - len(rows), 0),
        "failed": sum(row[0] != "SUCCESS" for row in rows),
        "without_code": sum(row[0] != "SUCCESS" and not row[5] for row in rows),
        "takeovers": _epoch(connection) - requested.epoch,
        "all_seconds": (max(row[3] for row in rows) - min(row[4] for row in rows)) / 1000,
        "p50_seconds": statistics.median(seconds),
        "p99_seconds": p99(seconds),
        "begin_p50_seconds": statistics.median(begins),
        "begin_p99_seconds": p99(begins),
        "request_p50_ms": 1000 * statistics.median(requested.seconds),
        "request_p99_ms": 1000 * p99(requested.seconds),
    }


def _epoch(connection: psycopg.Connection[Any]) -> int:
    row = connection.execute("SELECT epoch FROM server_claims").fetchone()
    assert row
    return int(row[0])


def _count(connection: psycopg.Connection[Any], query: str, requested: Requested) -> int:
    row = connection.execute(query.encode(), [list(requested.ids)]).fetchone()
    assert row
    return int(row[0])


def _until(condition: Callable[[], bool]) -> float:
    """Return the monotonic time of the first true result."""
    deadline = time.monotonic() + _END_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("no other server performs the tasks")
        time.sleep(_POLL_SECONDS)
    return time.monotonic()
