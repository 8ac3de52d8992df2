"""The real server, as a process: `cachewright serve` on a folder of its own, and what it must not leave behind."""

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
"""Its password must not be among the arguments, which other users can read."""

_OVERCOMMIT = 1000
"""The demo's shards are of 1 GB at least, and it is to run on small machines: its server lets nodes have far more
memory than there is. How much of it is filled is the demo's own doing; a server for others keeps to the default, 1."""


class ServerFailed(Exception):
    """The server did not start or has ended, with the last lines of its log."""


class ServerProcess:
    def __init__(self, data_dir: Path, *arguments: str, database_url: str | None = None) -> None:
        """Start it, with more arguments of `cachewright serve`, and return when it answers. The folder must be new or
        empty, and so must the database; None for SQLite in the folder."""
        data_dir.mkdir(parents=True, exist_ok=True, mode=stat.S_IRWXU)
        if any(data_dir.iterdir()):
            raise ServerFailed(f"{data_dir} is not empty")
        self._log = data_dir / "server.log"
        command = [sys.executable, "-m", "cachewright", "serve", "--data-dir", str(data_dir), "--listen", "127.0.0.1:0"]
        command += ["--memory-overcommit", str(_OVERCOMMIT)]
        environment = {**os.environ, _DATABASE_URL: database_url} if database_url else None
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [*command, *arguments],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for the demo, which stops it in its own order
            )
        try:
            self.access = self._ready(data_dir / "credentials.json")
        except BaseException:
            self._process.kill()
            self._process.wait()
            raise

    def stop(self) -> bool:
        """Ends it as an operator would. False where it had to be killed, or did not end well."""
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
        """The last lines of its log."""
        return self._log.read_text(errors="replace").strip()[-_LOG_TAIL:]


def kill_left_behind(data_dir: Path) -> int:
    """Kills every cache node that still runs in the folder. How many there were."""
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
    """Any answer will do: without a signature it is a refusal."""
    try:
        urllib.request.urlopen(endpoint, timeout=5).close()  # noqa: S310  # the server's own http address
    except urllib.error.HTTPError as answer:
        answer.close()
    except OSError:
        return False
    return True
