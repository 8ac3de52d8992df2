"""Files that hold secrets: readable by their owner alone from the moment they exist, and never half-written."""

import os
import stat
from pathlib import Path

_OWNER_ONLY = stat.S_IRUSR | stat.S_IWUSR


def write_private(path: Path, content: bytes) -> None:
    """OSError where it cannot be written."""
    partial = path.with_suffix(".partial")
    partial.unlink(missing_ok=True)  # of a write that was cut off, or a link that somebody put there
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _OWNER_ONLY)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    partial.replace(path)
