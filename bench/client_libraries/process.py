"""Start and stop the process of one client library."""

import contextlib
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Self

import msgspec

from bench.client_libraries.messages import ClientReport, ClientSpec

PYTHON_LIBRARIES = ("valkey-py", "redis-py", "valkey-glide")
NODE_LIBRARIES = ("ioredis", "node-redis")

_NODE_FOLDER = Path(__file__).parent / "node"
_ROOT = Path(__file__).parents[2]
_WITHIN_SECONDS = 60.0


class ClientFailed(Exception):
    """The process has ended without a report, or does not answer; holds the end of its log."""


def unavailable(library: str) -> str | None:
    """Why a library cannot run on this host; None if it can."""
    if library in PYTHON_LIBRARIES:
        return None
    if shutil.which("node") is None:
        return "node is not installed"
    if not (_NODE_FOLDER / "node_modules").exists():
        return f"npm ci has not run in {_NODE_FOLDER}"
    return None


class LibraryClient:
    """Traffic of one library until `stop`."""

    def __init__(self, spec: ClientSpec) -> None:
        """Start the process, and wait until its workers run. ClientFailed if they do not within a minute."""
        self._library = spec.library
        python = [sys.executable, "-m", "bench.client_libraries.python_client"]
        command = python if spec.library in PYTHON_LIBRARIES else ["node", str(_NODE_FOLDER / "client.js")]
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  # closed with the process
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, cwd=_ROOT
        )
        try:
            self._send(msgspec.json.encode(spec))
            self._line()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def stop(self) -> ClientReport:
        """End the traffic, and wait until its writes were read back."""
        self._send(b"stop")
        return msgspec.json.decode(self._line(), type=ClientReport)

    def close(self) -> None:
        """Kill the process."""
        self._process.kill()
        with contextlib.suppress(BrokenPipeError), self._process:
            pass  # closes the pipes
        self._log.close()

    def log(self) -> str:
        """Standard error of the process."""
        self._log.seek(0)
        return self._log.read().decode(errors="replace")

    def _send(self, line: bytes) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError as broken:
            raise self._failed() from broken

    def _line(self) -> bytes:
        assert self._process.stdout is not None
        limit = threading.Timer(_WITHIN_SECONDS, self._process.kill)
        limit.start()
        try:
            line = self._process.stdout.readline()
        finally:
            limit.cancel()
        if not line:
            raise self._failed()
        return line

    def _failed(self) -> ClientFailed:
        return ClientFailed(f"the client process of {self._library} has ended: {self.log()[-2000:]}")
