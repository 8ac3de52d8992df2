"""Files with secrets: readable by their owner only, and written atomically."""

import os
import stat
from pathlib import Path

_OWNER_ONLY = stat.S_IRUSR | stat.S_IWUSR


def write_private(path: Path, content: bytes) -> None:
    """Write a file with mode 0600, atomically. OSError if that fails."""
    partial = path.with_suffix(".partial")
    partial.unlink(missing_ok=True)  # left by an interrupted write, or a link created by another user
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _OWNER_ONLY)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    partial.replace(path)
