"""Runs `cachewright serve` in its own directory, and finds processes that it left behind."""

import os
import stat
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import msgspec
import psutil

from cachewright.cli.demo.cloud import Access

_READY_SECONDS = 30.0
_STOP_SECONDS = 30.0
_LOG_TAIL = 2000
_DATABASE_URL = "CACHEWRIGHT_DATABASE_URL"
"""Carries the URL, whose password other users could read among the arguments."""

_OVERCOMMIT = 1000
"""The smallest shard has 1 GB, and the demo must run on small hosts, so its server allows more memory than the host
has. The demo limits the data itself. A production server keeps the default, 1."""


class ServerFailed(Exception):
    """The server did not start or has ended, with the last lines of its log."""


class ServerProcess:
    def __init__(self, data_dir: Path, *arguments: str, database_url: str | None = None) -> None:
        """Start the server with additional arguments and wait until it responds. The directory and the database must be
        new or empty; without a database URL, the server uses SQLite in the directory."""
        data_dir.mkdir(parents=True, exist_ok=True, mode=stat.S_IRWXU)
        if any(data_dir.iterdir()):
            raise ServerFailed(f"{data_dir} is not empty")
        self._log = data_dir / "server.log"
        self._credentials = data_dir / "credentials.json"
        self._arguments = ("--data-dir", str(data_dir), "--memory-overcommit", str(_OVERCOMMIT), *arguments)
        self._environment = {**os.environ, _DATABASE_URL: database_url} if database_url else None
        self._start("127.0.0.1:0")

    def _start(self, listen: str) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "cachewright", "serve", "--listen", listen, *self._arguments],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C reaches only the demo, which stops its processes in order
            )
        try:
            self.access = self._ready(self._credentials)
        except BaseException:
            self._process.kill()
            self._process.wait()
            raise

    @property
    def pid(self) -> int:
        return self._process.pid

    def kill(self) -> None:
        """Kill the server. Its nodes keep running."""
        self._process.kill()
        self._process.wait()

    def crash_and_restart(self) -> None:
        """Kill the server, start it again on its port and wait until it responds. Its nodes keep running."""
        self.kill()
        self._start(self.access.endpoint.rpartition("//")[2])

    def stop(self) -> bool:
        """Stop the server by SIGTERM. False if it had to be killed or exited with an error."""
        self._process.terminate()
        try:
            return self._process.wait(_STOP_SECONDS) == 0
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            return False

    def _ready(self, credentials: Path) -> Access:
        deadline = time.monotonic() + _READY_SECONDS
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise ServerFailed(f"the server ended with {self._process.returncode}: {self.tail()}")
            if credentials.exists():
                access = msgspec.json.decode(credentials.read_bytes(), type=Access)
                if _answers(access.endpoint):
                    return access
            time.sleep(0.05)
        raise ServerFailed(f"the server is not ready after {_READY_SECONDS:.0f} s: {self.tail()}")

    def tail(self) -> str:
        """Last lines of the log."""
        return self._log.read_text(errors="replace").strip()[-_LOG_TAIL:]


def kill_left_behind(data_dir: Path) -> int:
    """Kill all nodes that still run in the directory, and return their number."""
    left = []
    for process in psutil.process_iter():
        try:
            words = process.cmdline()
        except psutil.Error:
            continue
        if process.pid != os.getpid() and _is_node(words, data_dir):
            left.append(process)
            process.kill()
    psutil.wait_procs(left, timeout=5)
    return len(left)


def _is_node(words: list[str], data_dir: Path) -> bool:
    return bool(words) and "valkey" in Path(words[0]).name and any(str(data_dir) in word for word in words[1:])


def _answers(endpoint: str) -> bool:
    """Whether the endpoint responds; an error response counts."""
    try:
        urllib.request.urlopen(endpoint, timeout=5).close()  # noqa: S310  # the server's own http address
    except urllib.error.HTTPError as answer:
        answer.close()
    except OSError:
        return False
    return True
