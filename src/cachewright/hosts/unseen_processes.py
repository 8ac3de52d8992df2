"""Processes that have not written their pid file in time, such as frozen ones."""

import os
import time
from contextlib import suppress
from pathlib import Path

import psutil

from cachewright.hosts.child_processes import start_ticks


def ticks_now() -> int:
    """Return the time in the unit and by the clock of `start_ticks`. Times since the epoch are no substitute: those of
    processes are wrong by up to a second, because the kernel names the time of its own start in whole seconds."""
    return int(time.clock_gettime(time.CLOCK_BOOTTIME) * os.sysconf("SC_CLK_TCK"))


def end_unseen(config: Path, since: int) -> None:
    """Kill processes with this configuration file that were started at `since` (`ticks_now`) or later. The next start
    would not know them: they would run beside it."""
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            if str(config) in process.cmdline() and int(start_ticks(process.pid) or 0) >= since:
                process.kill()
