"""The API over HTTP with a real database, without nodes, engine and supervision."""

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from argon2 import PasswordHasher
from granian.constants import Interfaces
from granian.server.embed import Server
from litestar.types import ASGIApp
from tenants import Site, Tenant

from cachewright.api.app import create_app
from cachewright.config import Settings
from cachewright.heartbeats import LoopHeartbeats
from cachewright.hosts.local import LocalHost
from cachewright.monitoring.inspection import NodeBudget, NodeInspector
from cachewright.monitoring.node_stats import StatsCollector
from cachewright.monitoring.snapshots import SnapshotReader
from cachewright.operations.context import OperationContext
from cachewright.server.services import build_services
from cachewright.services import accounts, tokens
from cachewright.store.database import Database
from cachewright.store.opening import open_database
from cachewright.tasks.feed import TaskFeed
from cachewright.telemetry.metrics import Metrics
from cachewright.valkey.access import Access
from cachewright.valkey.migration.source_state import MigrationState

RATE = 1_000_000
"""Requests and changes of one user: no test of these is about that."""


@pytest.fixture(scope="session")
def cheap_passwords() -> Iterator[None]:
    """Hash passwords with little work: hundreds of tests sign in."""
    cheap = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    with pytest.MonkeyPatch.context() as patch:
        for module in (accounts, tokens):
            patch.setattr(module, "HASHER", cheap)
        yield


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory, cheap_passwords: None) -> Iterator[Site]:
    """One server a test process. Tests keep apart by projects of their own."""
    folder: Path = tmp_path_factory.mktemp("site")
    rates = {"rate_limit": f"{RATE}/second", "change_rate_limit": f"{RATE}/second"}
    settings = Settings(data_dir=folder, memory_overcommit=1000, quota_nodes=0, quota_backup_gb=1000, **rates)
    database = open_database(settings)
    budget, feed = NodeBudget(), TaskFeed()
    statistics = StatsCollector(_left_out, LoopHeartbeats())
    host = LocalHost(settings)
    metrics = Metrics(database)
    services = build_services(
        OperationContext(database, settings, host, MigrationState(host.cpus)),
        feed,
        enqueue=lambda task: None,
        statistics=statistics,
        inspector=NodeInspector(_NoSite.access, budget),
        snapshots=SnapshotReader(_NoSite(database)),
        budget=budget,
        count_sign_in=metrics.signed_in,
    )
    port = _free_port()
    running = _Running(create_app(services, metrics), port)
    yield Site(database, settings, statistics, port)
    running.stop()
    database.close()


@pytest.fixture
def new_tenant(site: Site) -> Callable[[], Tenant]:
    """Makes another project with its key."""

    def make(*, enabled: bool = True) -> Tenant:
        return Tenant.added(site, enabled=enabled)

    return make


@pytest.fixture
def tenant(new_tenant: Callable[[], Tenant]) -> Tenant:
    return new_tenant()


class _Running:
    def __init__(self, app: ASGIApp, port: int) -> None:
        self._app = app
        self._port = port
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        deadline = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                return
            except ConnectionRefusedError:
                assert time.monotonic() < deadline, "the server does not listen"
                time.sleep(0.02)

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._server = Server(
            self._app,
            address="127.0.0.1",
            port=self._port,
            interface=Interfaces.ASGI,
            websockets=False,
            log_enabled=False,
        )
        await self._server.serve()

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._server.stop)
        self._thread.join()


class _NoSite:
    """What the observer reads before it looks at nodes."""

    def __init__(self, database: Database) -> None:
        self.database = database

    access = staticmethod(lambda instance: Access("", None, Path()))


def _left_out(*_: object, **__: object) -> Any:
    raise AssertionError("the tests of the API have nothing below the control plane")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
