"""Version and features of the configured valkey-server."""

import re
import subprocess
import tempfile
from functools import lru_cache
from pathlib import Path

from cachewright.errors import CachewrightError

_SECONDS = 10
_OLDEST = (9, 0)
_VERSION = re.compile(r"v=(\d+)\.(\d+)")
_HAS_TLS = b"No tls-cert-file configured"
"""Log line of a server that supports TLS and is started without a certificate. It exits before it listens."""


class UnusableServer(CachewrightError):
    """The program does not run, is not a valkey-server, or is too old."""


def require_version(binary: Path) -> tuple[int, int]:
    """Return the major and minor version of the server. Raises UnusableServer if it cannot run nodes."""
    try:
        ran = subprocess.run([binary, "--version"], capture_output=True, text=True, timeout=_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise UnusableServer(f"{binary} does not run: {error}") from error
    match = _VERSION.search(ran.stdout)
    if not match:
        raise UnusableServer(f"{binary} is not a valkey-server")
    version = int(match[1]), int(match[2])
    if version < _OLDEST:
        needed = f"{_OLDEST[0]}.{_OLDEST[1]}"
        raise UnusableServer(
            f"{binary} is version {match[1]}.{match[2]}; {needed} or later is needed: it moves slots itself"
        )
    return version


def has_tls(binary: Path) -> bool:
    """Whether the server was built with TLS. Runs it once for about 40 ms, and again after the file was replaced."""
    try:
        return _has_tls(binary, binary.stat().st_mtime_ns)
    except OSError:
        return False


@lru_cache(maxsize=4)
def _has_tls(binary: Path, _modified: int) -> bool:
    with tempfile.TemporaryDirectory(prefix="cachewright-") as folder:
        options = ("--port", "0", "--tls-replication", "yes", "--save", "", "--appendonly", "no", "--dir", folder)
        try:
            tried = subprocess.run(
                [binary, *options],
                cwd=folder,
                capture_output=True,
                stdin=subprocess.DEVNULL,
                timeout=_SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            return False
    return _HAS_TLS in tried.stdout
