"""Marks and fixtures: servers and databases, shared by most tests, separate for tests that break them."""

import gc
import os
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

sys.path.insert(0, str(Path(__file__).parent))

import distance  # the line above makes this and the next three importable
from agents import Hosts
from postgres_server import PostgresServer
from serving import ROOMY, UNLIMITED, Server

# Each server that a test starts would compile all modules again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# What is collected here stays until the end: tests need not look at it whenever they collect garbage.
gc.disable()

# Machines are shared: a slow example, or one that is made slowly, is no failure.
settings.register_profile("suite", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("quick", settings.get_profile("suite"), max_examples=15)
settings.load_profile("suite")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    distance.mark(items)
    items.sort(key=lambda item: not _uses_hosts(item))


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None]:
    with distance.held_to_mark(item):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    with distance.held_to_mark(item):
        return (yield)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server shared by the tests of one worker process. Tests restore its state."""
    yield from _running(tmp_path_factory.mktemp("server") / "data")


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Server]:
    yield from _running(tmp_path / "data")


@pytest.fixture(scope="session")
def client(server: Server) -> Any:
    return server.client()


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server shared by the tests of one worker process; each test creates its own databases."""
    started = PostgresServer()
    try:
        started.start()
        yield started
    finally:
        started.clean_up()


@pytest.fixture
def own_postgres() -> Iterator[PostgresServer]:
    """A separate server for tests that stop it."""
    started = PostgresServer()
    try:
        started.start()
        yield started
    finally:
        started.clean_up()


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.node)])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty database of each kind. With SQLite it is `test.db` in the test's folder."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'test.db'}"
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    url = server.new_database()
    yield url
    server.drop_database(url)


def _uses_hosts(item: pytest.Item) -> bool:
    """Whether a test may start agents. Such tests take longest. In front, they are the share of one worker, which runs
    them one after another, and the others take over the rest of its share; at the end they would keep few workers
    busy."""
    return Hosts in vars(getattr(item, "module", object)).values()


def _running(data_dir: Path) -> Iterator[Server]:
    started = Server(data_dir, arguments=(*ROOMY, *UNLIMITED))
    try:
        started.start()
        yield started
    finally:
        started.clean_up()
