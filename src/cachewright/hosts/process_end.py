"""The end of a process, whatever its pid file says."""

import asyncio
import time
from contextlib import suppress

import psutil

_POLL_SECONDS = 0.02


async def has_ended(process: psutil.Process, seconds: float) -> bool:
    """Whether the process ends in this time. A valkey-server first removes its pid file, and then its Unix socket: a
    successor that started in between would lose its own, and could not be reached."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with suppress(psutil.NoSuchProcess):
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                await asyncio.sleep(_POLL_SECONDS)
                continue
        return True
    return False
