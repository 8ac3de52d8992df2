"""Version and features of the configured valkey-server."""

import re
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from cachewright.errors import CachewrightError

_SECONDS = 10
_OLDEST = (9, 0)
_VERSION = re.compile(r"v=(\d+)\.(\d+)\.(\d+)")
_HAS_TLS = b"No tls-cert-file configured"
"""Log line of a server that supports TLS and is started without a certificate. It exits before it listens."""


class UnusableServer(CachewrightError):
    """The program does not run, is not a valkey-server, or is too old."""


def version_key(version: str) -> tuple[int, ...]:
    """Sort key of a version such as `9.1.2`. Raises ValueError."""
    return tuple(int(part) for part in version.split("."))


def require_version(binary: Path) -> str:
    """Return the version of the server, such as `9.1.2`. Runs it once, and again after the file was replaced.

    Raises UnusableServer if it cannot run nodes.
    """
    try:
        return _version(binary, binary.stat().st_mtime_ns)
    except OSError as error:
        raise UnusableServer(f"{binary} does not run: {error}") from error


@lru_cache(maxsize=16)
def _version(binary: Path, _modified: int) -> str:
    try:
        ran = subprocess.run([binary, "--version"], capture_output=True, text=True, timeout=_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise UnusableServer(f"{binary} does not run: {error}") from error
    match = _VERSION.search(ran.stdout)
    if not match:
        raise UnusableServer(f"{binary} is not a valkey-server")
    version = ".".join(match.groups())
    if version_key(version)[:2] < _OLDEST:
        needed = f"{_OLDEST[0]}.{_OLDEST[1]}"
        raise UnusableServer(f"{binary} is version {version}; {needed} or later is needed: it moves slots itself")
    return version


def servers_by_version(binaries: Sequence[Path]) -> dict[str, Path]:
    """Return the usable servers by their version, in the given order. The first of a version counts."""
    found: dict[str, Path] = {}
    for binary in binaries:
        with suppress(UnusableServer):
            found.setdefault(require_version(binary), binary)
    return found


def reading_server(binaries: Sequence[Path], version: str) -> tuple[str, Path] | None:
    """Return version and path of the server that reads snapshots of this version: its own, or the next newer one. None
    without one. Runs each server once."""
    servers = servers_by_version(binaries)
    newer = [known for known in servers if version_key(known) >= version_key(version)]
    oldest = min(newer, key=version_key, default=None)
    return None if oldest is None else (oldest, servers[oldest])


def has_tls(binary: Path) -> bool:
    """Whether the server was built with TLS. Runs it once for about 40 ms, and again after the file was replaced. False
    if that fails, until the next call: a busy machine must not count as one without TLS from then on."""
    try:
        return _has_tls(binary, binary.stat().st_mtime_ns)
    except (OSError, subprocess.TimeoutExpired):
        return False


@lru_cache(maxsize=4)
def _has_tls(binary: Path, _modified: int) -> bool:
    with tempfile.TemporaryDirectory(prefix="cachewright-") as folder:
        options = ("--port", "0", "--tls-replication", "yes", "--save", "", "--appendonly", "no", "--dir", folder)
        tried = subprocess.run(
            [binary, *options],
            cwd=folder,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=_SECONDS,
            check=False,
        )
    return _HAS_TLS in tried.stdout
