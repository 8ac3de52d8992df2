"""Environment variables of node processes, which choose and tune their memory allocator. See docs/decisions/0042."""

import os
import subprocess
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

_TUNABLES = "glibc.malloc.mxfast=0"
"""Switches off the lists in which glibc keeps small freed chunks of memory. It empties all of such a list in the
thread that next allocates a large block. After a hash of millions of fields was freed in the background, that is the
thread that serves clients, and it stalls for half a second."""

AUTO, OFF = "auto", "off"
"""Values of the setting `jemalloc` that are not a path."""

_LIBRARY = "libjemalloc.so.2"
"""Found by the dynamic linker. It ignores a library that is missing."""

_SECONDS = 10
_BUILT_IN = "malloc=jemalloc"
_REPORT = "Begin jemalloc statistics"


def variables(binary: Path, jemalloc: str) -> dict[str, str]:
    """Return the whole environment of a node. The server's own environment may contain secrets and is not passed on,
    except for the time zone: the server reads the local times in the logs of nodes.

    :param jemalloc: as in `Settings`.
    """
    library = preloaded(binary, jemalloc)
    preload = {"LD_PRELOAD": library} if library else {}
    return {**plain(), "GLIBC_TUNABLES": _TUNABLES, **preload}


def plain() -> dict[str, str]:
    """Return the whole environment of a process that is no node."""
    zone = {"TZ": os.environ["TZ"]} if "TZ" in os.environ else {}
    return {"PATH": os.defpath, "LANG": "C.UTF-8", **zone}


def preloaded(binary: Path, jemalloc: str) -> str | None:
    """Return the jemalloc library that nodes load before their own allocator. None if it is switched off or missing, if
    the server does not run with it, or if the server has jemalloc already.

    Runs the server twice for a few milliseconds, and again after its file was replaced.
    """
    if jemalloc == OFF:
        return None
    library = _LIBRARY if jemalloc == AUTO else jemalloc
    try:
        return library if _can_preload(binary, binary.stat().st_mtime_ns, library) else None
    except (OSError, subprocess.SubprocessError):  # is not kept: the machine may have been too busy
        return None


def describe(binary: Path, jemalloc: str) -> str:
    """Return the name of the allocator that nodes use."""
    library = preloaded(binary, jemalloc)
    if library:
        return f"jemalloc, preloaded from {library}"
    with suppress(OSError, subprocess.SubprocessError):
        if _BUILT_IN in _version(binary):
            return "jemalloc, built in"
    return "that of the C library"


@lru_cache(maxsize=4)
def _can_preload(binary: Path, _modified: int, library: str) -> bool:
    """Raises OSError or SubprocessError if the server cannot be run."""
    if _BUILT_IN in _version(binary):
        return False
    return _REPORT in _version(binary, LD_PRELOAD=library, MALLOC_CONF="stats_print:true")


def _version(binary: Path, **environment: str) -> str:
    """Return everything that `valkey-server --version` prints. If `environment` tells jemalloc to print its statistics
    at the end of the process, they are part of it. Raises OSError or SubprocessError."""
    ran = subprocess.run(
        [binary, "--version"],
        env={"PATH": os.defpath, **environment},
        capture_output=True,
        stdin=subprocess.DEVNULL,
        timeout=_SECONDS,
        check=True,
    )
    return (ran.stdout + ran.stderr).decode(errors="replace")
