"""Space of a disk that large files leave free: nodes on the same disk refuse writes of clients when it is full."""

import errno
import shutil
from pathlib import Path

_SHARE, _MOST = 0.05, 1024**3


def require_reserve(folder: Path, coming: int = 0) -> None:
    """Raise OSError if the disk of a folder would have less than the reserve free with so many further bytes: a
    twentieth of the disk, at most 1 GB. Blocks."""
    found = shutil.disk_usage(folder)
    if found.free - coming < min(found.total * _SHARE, _MOST):
        raise OSError(errno.ENOSPC, f"the disk is almost full, {found.free} bytes are free")
