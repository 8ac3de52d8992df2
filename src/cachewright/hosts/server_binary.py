"""What the configured valkey-server can do."""

import subprocess
import tempfile
from functools import lru_cache
from pathlib import Path

_SECONDS = 10
_HAS_TLS = b"No tls-cert-file configured"
"""Log line of a server with TLS that is started with TLS and without a certificate. It ends before it listens."""


def has_tls(binary: Path) -> bool:
    """Whether the server was built with TLS. Starts it once, for some 40 ms; a replaced binary is tried again."""
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
