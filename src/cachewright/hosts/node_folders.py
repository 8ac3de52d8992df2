"""Folders below that of a node: written whole, and exchanged by renaming.

Every function ensures its result. A power failure leaves a folder with its whole content or none of that name.
"""

import errno
import os
import shutil
import stat
from collections.abc import Iterable, Mapping, Sequence, Set
from pathlib import Path

from cachewright.disk_reserve import require_reserve

_OWNER_ONLY = stat.S_IRUSR | stat.S_IWUSR


def write_folder(folder: Path, files: Mapping[str, Iterable[bytes]]) -> None:
    """Write a folder with these files, in place of one of its name. `files` are their parts by name."""
    delete_folder(folder)
    partial = _partial(folder)
    partial.mkdir(mode=stat.S_IRWXU)
    try:
        for name, parts in files.items():
            with os.fdopen(os.open(partial / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _OWNER_ONLY), "wb") as file:
                for part in parts:
                    require_reserve(partial, len(part))
                    file.write(part)
                file.flush()
                os.fsync(file.fileno())
        _sync(partial)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    partial.rename(folder)
    _sync(folder.parent)


def exchange_folder(folder: Path, new: Path, former: Path) -> None:
    """Rename `folder` to `former` and `new` to `folder`. No effect if there is no `new`. FileExistsError if there are a
    `folder` and a `former`, which may be the only copy of the data before."""
    if not new.is_dir():
        return
    if folder.is_dir():
        if former.is_dir():
            raise FileExistsError(errno.EEXIST, f"there is a folder {former.name} already")
        folder.rename(former)
    new.rename(folder)
    _sync(folder.parent)


def bring_back_folder(folder: Path, former: Path) -> None:
    """Rename `former` to `folder`, in place of the present one. No effect if there is no `former`."""
    if not former.is_dir():
        return
    delete_folder(folder)
    former.rename(folder)
    _sync(folder.parent)


def link_files(files: Sequence[Path], folder: Path, kept: Set[str]) -> dict[str, int]:
    """Ensure that these files are in `folder` as well, as hard links, and no others except those with the names in
    `kept`. Return the size of each file there."""
    folder.mkdir(mode=stat.S_IRWXU, exist_ok=True)
    for file in files:
        link = folder / file.name
        if link.exists() and not link.samefile(file):
            link.unlink()  # of a folder that was exchanged
        if not link.exists():
            link.hardlink_to(file)
    wanted = kept | {file.name for file in files}
    for path in folder.iterdir():
        if path.name not in wanted:
            path.unlink()
    return {path.name: path.stat().st_size for path in folder.iterdir()}


def read_part(path: Path, start: int, length: int) -> bytes:
    """Return a part of a file."""
    with path.open("rb") as file:
        file.seek(start)
        return file.read(length)


def delete_folder(folder: Path) -> None:
    """Delete a folder with its content, and what an interrupted `write_folder` or deletion has left of it. A folder
    that could be deleted in part only has another name."""
    leaving = folder.with_name(f".{folder.name}.leaving")
    for rest in (_partial(folder), leaving):
        shutil.rmtree(rest, ignore_errors=True)
    if folder.is_dir():
        folder.rename(leaving)
        shutil.rmtree(leaving, ignore_errors=True)


def _partial(folder: Path) -> Path:
    """Return the name of a folder that is being written."""
    return folder.with_name(f".{folder.name}.partial")


def _sync(folder: Path) -> None:
    """Write the names in a folder to the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
