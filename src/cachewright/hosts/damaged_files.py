"""Files of a node that was rebuilt: they may hold writes that no other node has."""

import shutil
from contextlib import suppress
from pathlib import Path

from cachewright.hosts.host import DAMAGED


def set_aside(folder: Path, not_before: float) -> None:
    """See `Host.set_aside`."""
    if not folder.exists():
        return
    damaged = folder / DAMAGED
    if damaged.exists() and damaged.stat().st_mtime < not_before:
        shutil.rmtree(damaged, ignore_errors=True)
    damaged.mkdir(mode=0o700, exist_ok=True)
    for path in [path for path in folder.iterdir() if path != damaged]:
        if path.name != "valkey.sock" and not (damaged / path.name).exists():
            with suppress(OSError):
                path.replace(damaged / path.name)
                continue
        shutil.rmtree(path, ignore_errors=True)
        path.unlink(missing_ok=True)
    if not any(damaged.iterdir()):
        damaged.rmdir()
