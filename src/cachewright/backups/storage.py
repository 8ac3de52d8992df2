"""The storage of backups: a folder, or a bucket of an S3-compatible service, through obstore.

An object is put whole, and is there whole or not at all. Credentials of a service come from the environment
(AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION, AWS_ENDPOINT_URL, ...): neither the URL nor arguments of the
process have them.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from urllib.parse import unquote, urlsplit

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import LocalStore, ObjectStore, from_url

from cachewright.disk_reserve import require_reserve
from cachewright.errors import CachewrightError
from cachewright.threads import on_storage

_SCHEMES = ("file", "s3")
_CONNECT_SECONDS, _ANSWER_SECONDS = 5, 300
_RETRIES, _RETRY_SECONDS = 2, 30
_DELETED_AT_ONCE = 1000
_PROBE = "probe"
_MARK = "cachewright-storage"
"""Object that tells a storage in use from an empty folder."""

_OWNER_ONLY = 0o700


class StorageFailed(CachewrightError):
    """The storage does not answer, refuses, or is full."""


class BackupDamaged(CachewrightError):
    """A backup or a part of it is missing, was changed, or was encrypted with another key."""


def parse_storage_url(text: str) -> str:
    """Return the URL of a storage: `file:///FOLDER` or `s3://BUCKET[/PREFIX]`. Raises ValueError with a message for
    people."""
    shown = repr(text)
    try:
        parts = urlsplit(text)
        if parts.username or parts.password:
            shown = "the URL"  # it has credentials
        is_known = parts.scheme in _SCHEMES and not (parts.query or parts.fragment or parts.username or parts.password)
        is_named = (
            bool(parts.netloc)
            if parts.scheme == "s3"
            else not parts.netloc and parts.path.startswith("/") and parts.path.strip("/") != ""
        )
    except ValueError:
        is_known = is_named = False
    if not (is_known and is_named):
        raise ValueError(f"{shown} is not a URL such as file:///srv/backups or s3://bucket/prefix without credentials")
    return text.rstrip("/")


def folder_of(url: str) -> Path | None:
    """Return the folder of a URL as `parse_storage_url` returns it; None for a service."""
    parts = urlsplit(url)
    return Path(unquote(parts.path)) if parts.scheme == "file" else None


class Storage:
    """Methods raise StorageFailed. Names are relative to the URL, with `/` between folders."""

    def __init__(self, store: ObjectStore, name: str, folder: Path | None) -> None:
        """:param folder: of a storage on this host."""
        self._store = store
        self.name = name
        self._folder = folder

    @classmethod
    def open(cls, url: str, *, create: bool = False) -> "Storage":
        """Return the storage of a URL as `parse_storage_url` returns it. Asks nothing of a service.

        :param create: create a folder that is missing, for its owner only. Otherwise it must exist: it may be the place
            of a disk that is not mounted.
        """
        with _failures(url):
            if folder := folder_of(url):
                if create:
                    folder.mkdir(mode=_OWNER_ONLY, parents=True, exist_ok=True)
                elif not folder.is_dir():
                    raise StorageFailed(f"{url}: the folder does not exist")
                return cls(LocalStore(prefix=folder), url, folder)
            store = from_url(
                url,
                client_options={
                    "connect_timeout": timedelta(seconds=_CONNECT_SECONDS),
                    "timeout": timedelta(seconds=_ANSWER_SECONDS),
                    "allow_http": True,  # for an endpoint in a private network; the objects are encrypted
                },
                retry_config={"max_retries": _RETRIES, "retry_timeout": timedelta(seconds=_RETRY_SECONDS)},
            )
            return cls(store, url, None)

    async def put(self, name: str, content: bytes, *, new: bool = False) -> bool:
        """Store an object durably. With `new` it does not replace another one: then return False. On the disk of a
        folder a reserve stays free."""
        with _failures(self.name):
            if self._folder:
                await on_storage(require_reserve, self._folder, len(content))
            try:
                await obstore.put_async(
                    self._store, name, content, mode="create" if new else "overwrite", use_multipart=False
                )
            except AlreadyExistsError:
                return False
            if self._folder:
                await on_storage(_sync, self._folder, name)
        return True

    async def get(self, name: str) -> bytes | None:
        """Return an object, None if there is none."""
        with _failures(self.name):
            try:
                return bytes(await (await obstore.get_async(self._store, name)).bytes_async())
            except FileNotFoundError:
                return None

    async def size(self, name: str) -> int | None:
        """Return the bytes of an object, None if there is none."""
        with _failures(self.name):
            try:
                return int((await obstore.head_async(self._store, name))["size"])
            except FileNotFoundError:
                return None

    async def names(self, prefix: str) -> list[str]:
        """Return the names of all objects below a folder."""
        with _failures(self.name):
            found = obstore.list(self._store, prefix)
            return [str(entry["path"]) async for batch in found for entry in batch]

    async def remove(self, prefix: str) -> None:
        """Delete all objects below a folder, also what an interrupted `put` has left there."""
        names = await self.names(prefix)
        for start in range(0, len(names), _DELETED_AT_ONCE):
            some = names[start : start + _DELETED_AT_ONCE]
            with _failures(self.name):
                try:
                    await obstore.delete_async(self._store, some)
                except (BaseError, FileNotFoundError):  # one was deleted meanwhile, or the service has no such request
                    for name in some:
                        await self.remove_object(name)
        if self._folder:
            with _failures(self.name):
                await on_storage(_remove_folder, self._folder / prefix)

    async def remove_object(self, name: str) -> None:
        """Delete an object, if there is one."""
        with _failures(self.name):
            try:
                await obstore.delete_async(self._store, name)
            except FileNotFoundError:
                return

    async def require_mark(self, *, is_new: bool) -> None:
        """Require that this storage has been used before, by its mark. Raises StorageFailed: the disk with the backups
        is not mounted, or the URL leads elsewhere. A storage that `is_new` gets its mark."""
        if await self.size(_MARK):
            return
        if not is_new:
            raise StorageFailed(f"{self.name}: {_MARK} is missing; is the disk mounted, and the URL the one of before?")
        await self.put(_MARK, b"Backups of Cachewright. Without this file, none are made or deleted here.")

    async def probe(self) -> None:
        """Write, read and delete an object."""
        await self.put(_PROBE, b"probe")
        if await self.get(_PROBE) != b"probe":
            raise StorageFailed(f"{self.name} does not return what was stored")
        await self.remove_object(_PROBE)


@contextmanager
def _failures(name: str) -> Iterator[None]:
    """Turn errors of the library into StorageFailed. Its messages have further lines for its developers."""
    try:
        yield
    except (BaseError, OSError, ValueError) as error:
        first = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise StorageFailed(f"{name}: {first[:300]}") from error


def _sync(folder: Path, name: str) -> None:
    """Write a file and the folders above it to the disk."""
    path = folder / name
    while True:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if path == folder:
            return
        path = path.parent


def _remove_folder(folder: Path) -> None:
    if not folder.is_dir():
        return
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        else:
            path.unlink(missing_ok=True)
    folder.rmdir()
