"""Processes that have not written their pid file in time, such as frozen ones."""

from contextlib import suppress
from pathlib import Path

import psutil


def end_unseen(config: Path, since: float) -> None:
    """Kill processes with this configuration file that were started at `since` (seconds since the epoch) or later. The
    next start would not know them: they would run beside it."""
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            if str(config) in process.cmdline() and process.create_time() >= since:
                process.kill()
