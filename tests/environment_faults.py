"""Faults of a server's environment: a full disk, a clock that is set back."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

MEGABYTE = 1024 * 1024


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[None]:
    """Mount a file system of this size on `folder`. Requires root: otherwise the test is skipped, but never in CI."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=700", "cachewright-test", str(folder)]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode:
        assert "CI" not in os.environ, f"no small disk can be made: {made.stderr}"
        pytest.skip(f"A FULL DISK IS NOT TESTED HERE, it takes root to make a small one: {made.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Fill the remaining space with a file."""
    filler = folder / "filler"
    with filler.open("ab", buffering=0) as file:
        try:
            while file.write(b"x" * min(max(shutil.disk_usage(folder).free, 1), MEGABYTE)):
                pass
        except OSError:
            pass
    return filler


def impatient_of_locks() -> tuple[str, ...]:
    """`cachewright serve` that waits for a locked database for 3 seconds instead of 30."""
    program = """
from cachewright.store import sqlite
sqlite._BUSY_MS = 3000
from cachewright.cli import main
main()
"""
    return (sys.executable, "-c", program, "serve")


def set_back_an_hour_while(mark: Path) -> tuple[str, ...]:
    """`cachewright serve` with a clock that is an hour behind while the file `mark` exists."""
    program = f"""
import os, sys, time
real_ns, real = time.time_ns, time.time
behind = lambda: 3600 if os.path.exists({str(mark)!r}) else 0
time.time_ns = lambda: real_ns() - behind() * 10**9
time.time = lambda: real() - behind()
from cachewright.cli import main
main()
"""
    return (sys.executable, "-c", program, "serve")
