"""The begin of the work of a server that has taken the claim to perform tasks."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from cachewright.config import Settings
from cachewright.errors import DatabaseUnavailable
from cachewright.monitoring.incidents import Incidents
from cachewright.server.control_plane import ControlPlane
from cachewright.tasks.engine import Engine

pytestmark = pytest.mark.integration


class Http:
    """An HTTP server that serves nothing until it is stopped."""

    async def serve(self, stopped: asyncio.Event) -> None:
        async with asyncio.timeout(60):
            await stopped.wait()

    async def watch(self) -> None:
        await asyncio.Event().wait()

    async def close(self) -> None: ...


def test_a_server_that_cannot_take_over_tries_again_and_then_ends_as_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads: list[Incidents] = []
    load = Incidents.load

    def interrupted(incidents: Incidents) -> None:
        loads.append(incidents)
        if len(loads) == 1:
            raise DatabaseUnavailable("it is away")
        load(incidents)

    def refused(_: Engine) -> None:
        raise RuntimeError("it does not start")

    monkeypatch.setattr("cachewright.server.control_plane._PREPARE_SECONDS", 0.01)
    monkeypatch.setattr(Incidents, "load", interrupted)
    monkeypatch.setattr(Engine, "start", refused)
    http: Any = Http()

    async def serve() -> ControlPlane:
        server = ControlPlane(Settings(data_dir=tmp_path))
        await server.serve(http)
        return server

    server = asyncio.run(serve())
    assert len(loads) == 2
    assert server.has_failed
    server._database.close()
