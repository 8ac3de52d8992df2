"""Peers of Cachewright for progress requests, each a separate process.

`python -m bench.progress_peers bare PORT BODY`: granian as Cachewright embeds it, with a fixed response.
`python -m bench.progress_peers plain PORT DATABASE`: FastAPI on uvicorn, reading the same row; without authentication.
"""

import asyncio
import contextlib
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa
import uvicorn
from fastapi import FastAPI, HTTPException
from granian.constants import Interfaces
from granian.log import LogLevels
from granian.server.embed import Server
from pydantic import BaseModel

from cachewright.hosts.ports import free_ports

_HOST = "127.0.0.1"
_READY_SECONDS = 30.0


class SubStepDetail(BaseModel):
    sub_step_id: str
    sub_step_name: str
    sub_step_status: str
    begin_time: str | None
    end_time: str | None
    detail: str
    error_code: str | None


class StepDetail(BaseModel):
    step_id: str
    step_name: str
    step_status: str
    begin_time: str | None
    end_time: str | None
    error_code: str | None
    sub_step_details: list[SubStepDetail]


class Progress(BaseModel):
    progress: int
    remain_time: int
    step_details: list[StepDetail]


def plain(database: str) -> FastAPI:
    app = FastAPI()
    engine = sa.create_engine(f"sqlite:///{database}")
    wanted = sa.text(
        "SELECT * FROM tasks WHERE id = :task_id AND instance_id = :instance_id AND project_id = :project_id"
    )

    @app.get("/v2/{project_id}/instances/{instance_id}/tasks/{task_id}/progress")
    def show_progress(project_id: str, instance_id: str, task_id: str) -> Progress:
        asked = {"project_id": project_id, "instance_id": instance_id, "task_id": task_id}
        with engine.connect() as connection:
            row = connection.execute(wanted, asked).one_or_none()
        if row is None:
            raise HTTPException(404)
        steps = [_step(step) for step in json.loads(row.steps)]
        return Progress(progress=row.percent, remain_time=round(row.remaining_seconds), step_details=steps)

    return app


def _step(step: dict[str, Any]) -> StepDetail:
    return StepDetail(
        step_id=step["id"],
        step_name=step["name"],
        step_status=step["status"],
        begin_time=_iso(step["begin_time"]),
        end_time=_iso(step["end_time"]),
        error_code=step["error_code"],
        sub_step_details=[
            SubStepDetail(
                sub_step_id=sub["id"],
                sub_step_name=sub["name"],
                sub_step_status=sub["status"],
                begin_time=_iso(sub["begin_time"]),
                end_time=_iso(sub["end_time"]),
                detail=sub["detail"],
                error_code=sub["error_code"],
            )
            for sub in step["sub_steps"]
        ],
    )


def _iso(milliseconds: int | None) -> str | None:
    if milliseconds is None:
        return None
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(milliseconds / 1000))}.{milliseconds % 1000:03}Z"


def bare(body: bytes) -> Any:
    """An ASGI application with the headers of Cachewright's response."""
    headers = [
        (b"content-type", b"application/json"),
        (b"etag", b'"0123456789abcdef0123456789abcdef-1"'),
        (b"content-length", str(len(body)).encode()),
        (b"x-request-id", b"0123456789abcdef0123456789abcdef"),
    ]

    async def app(scope: Any, _receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": body, "more_body": False})

    return app


@contextlib.contextmanager
def running(kind: str, argument: Path) -> Iterator[int]:
    """Start the peer and wait until it responds; its port."""
    port = next(free_ports(_HOST, (30001, 32000), set()))
    process = subprocess.Popen([sys.executable, "-m", "bench.progress_peers", kind, str(port), str(argument)])
    try:
        deadline = time.monotonic() + _READY_SECONDS
        while not _listens(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the peer {kind} does not serve")
            time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.wait()


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((_HOST, port)):
        return True
    return False


async def _serve_bare(port: int, body: bytes) -> None:
    server = Server(
        bare(body),
        address=_HOST,
        port=port,
        interface=Interfaces.ASGI,
        websockets=False,
        backlog=1024,
        backpressure=10_000,
        log_level=LogLevels.error,
    )
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, server.stop)
    await server.serve()


def main() -> None:
    kind, port, argument = sys.argv[1:]
    if kind == "bare":
        asyncio.run(_serve_bare(int(port), Path(argument).read_bytes()))
    else:
        uvicorn.run(plain(argument), host=_HOST, port=int(port), log_level="error", access_log=False)


if __name__ == "__main__":
    main()
