"""Jobs of write logs: link the files of a primary, read their times, store what is new."""

from contextlib import suppress
from pathlib import Path

from cachewright.backups import log_objects
from cachewright.backups.log_objects import PART_BYTES
from cachewright.disk_reserve import disk_space, require_reserve
from cachewright.hosts.host import LINKS
from cachewright.hosts.node_folders import delete_folder, link_files, read_part
from cachewright.jobs.receiver import on_disk
from cachewright.jobs.results import Latest, Linked
from cachewright.jobs.spec import LinkLog, LogPart, ReadTimes, StoreLog
from cachewright.jobs.work import FolderWork
from cachewright.valkey import append_only_files
from cachewright.valkey.append_only_files import LikelyTimes, Times, number_of
from cachewright.valkey.config import DATA_FOLDER

_TRIES = 3


async def link(work: FolderWork, job: LinkLog) -> None:
    work.tell(await on_disk(_link, work.folder, frozenset(job.kept)))


def _link(folder: Path, kept: frozenset[str]) -> Linked:
    """Link the present files. No effect if only the reserve of the disk is left: `delete_links_when_full` deletes the
    links then."""
    data = folder.with_name(DATA_FOLDER)
    space = disk_space(folder.parent)
    if space.free < space.reserve:
        return Linked(is_full=True)
    manifest = data / append_only_files.MANIFEST
    for left in reversed(range(_TRIES)):  # a rewrite may delete files meanwhile
        files = append_only_files.parse(manifest.read_text()) if manifest.exists() else []
        try:
            sizes = link_files([data / file.name for file in files], folder, kept)
        except FileNotFoundError:
            if not left:
                raise
        else:
            return Linked(tuple(file.name for file in files), sizes, space.free >= 2 * space.reserve)
    raise AssertionError("unreachable")


async def read_times(work: FolderWork, job: ReadTimes) -> None:
    work.tell(Latest(await on_disk(_latest, work.folder, job.sizes)))


def _latest(folder: Path, sizes: dict[str, int]) -> int:
    """Return the latest second in the increments. Values of clients that look like a time do not count."""
    found = 0
    for name, size in sizes.items():
        if number_of(name) is None:
            continue
        likely, exact = LikelyTimes(), Times()
        _feed(folder / name, size, likely)
        if likely.latest > found:
            _feed(folder / name, size, exact)
            found = max(found, exact.latest)
    return found


def _feed(path: Path, size: int, times: LikelyTimes | Times) -> None:
    for start in range(0, size, PART_BYTES):
        times.feed(read_part(path, start, min(PART_BYTES, size - start)))


async def store(work: FolderWork, job: StoreLog) -> None:
    storage = await work.storage(job.storage)
    for part in job.parts:
        await storage.put(*await on_disk(_sealed, work.folder, job, part))


def _sealed(folder: Path, job: StoreLog, part: LogPart) -> tuple[str, bytes]:
    content = read_part(folder / part.file, part.start, part.length)
    return log_objects.seal(job.log, part.number, log_objects.Part(part.file, part.start), content)


def delete_links_when_full(nodes_dir: Path) -> str | None:
    """Delete the links of all nodes of this machine when only the reserve of the disk is left, and return why; None
    otherwise. Blocks."""
    try:
        require_reserve(nodes_dir)
    except FileNotFoundError:  # there has been no node yet
        return None
    except OSError as error:
        for folder in nodes_dir.glob(f"*/{LINKS}"):
            with suppress(FileNotFoundError):  # another loop has deleted it
                delete_folder(folder)
        return str(error.strerror)
    return None
