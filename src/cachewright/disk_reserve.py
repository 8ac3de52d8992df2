"""Space of a disk that large files leave free: nodes on the same disk refuse writes of clients when it is full."""

import errno
import os
import shutil
from pathlib import Path
from typing import BinaryIO

import msgspec

_SHARE, _MOST = 0.05, 1024**3


class DiskSpace(msgspec.Struct, frozen=True):
    """:ivar free: bytes that are free, :ivar reserve: those that stay free: a twentieth of the disk, at most 1 GB."""

    free: int
    reserve: int


def disk_space(folder: Path) -> DiskSpace:
    """Return the space of the disk of a folder. Raises OSError. Blocks."""
    found = shutil.disk_usage(folder)
    return DiskSpace(found.free, int(min(found.total * _SHARE, _MOST)))


def require_reserve(folder: Path, coming: int = 0) -> None:
    """Raise OSError if the disk of a folder would have less than the reserve free with so many further bytes.
    Blocks."""
    found = disk_space(folder)
    if found.free - coming < found.reserve:
        raise OSError(errno.ENOSPC, f"the disk is almost full, {found.free} bytes are free")


def available(folder: Path) -> int:
    """Return the bytes that large files may take on the disk of a folder. Blocks."""
    found = disk_space(folder)
    return max(found.free - found.reserve, 0)


def append(file: BinaryIO, part: bytes, folder: Path) -> None:
    """Write a part of a file in this folder. Raises OSError, also if the reserve would not stay free. Blocks."""
    require_reserve(folder, len(part))
    file.write(part)


def sync(file: BinaryIO) -> None:
    """Ensure that what was written is on the disk. Blocks."""
    file.flush()
    os.fsync(file.fileno())
