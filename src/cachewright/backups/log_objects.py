"""Objects of a write log: consecutive parts of its files, each sealed by the key of the log (AES-256-GCM).

The log and the name of the object are authenticated with it, so that no object can be replaced or repeated. After an
interrupted attempt, parts are stored again, and a service may apply the former request later than the next one. So a
name always stands for the same bytes. Their nonce is random.
"""

import asyncio
import base64
import hashlib
import os
import re
import secrets
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from pathlib import Path

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from cachewright.backups.storage import BackupDamaged, Storage
from cachewright.concurrency import end_tasks
from cachewright.disk_reserve import require_reserve
from cachewright.model.write_logs import WriteLog

PART_BYTES = 8 * 1024 * 1024
"""Most bytes of a file in one object."""

_AHEAD = 8
_NONCE_BYTES, _HEAD_BYTES = 12, 4
_OWNER_ONLY = 0o600
_DIGITS = 12
_NAME = re.compile(r".*/(\d{8})-[^/]+")


class Part(msgspec.Struct, frozen=True):
    """:ivar start: place of the bytes in the file."""

    file: str
    start: int


def object_name(log: WriteLog, number: int, part: Part, length: int) -> str:
    """Return the name of the object with this number. A file only grows, so two attempts to store an object have one
    name if they have the same bytes."""
    file = hashlib.sha256(part.file.encode()).hexdigest()[:_DIGITS]
    return f"{log.folder}/{number:08}-{file}-{part.start}-{length}"


def seal(log: WriteLog, number: int, part: Part, content: bytes) -> tuple[str, bytes]:
    """Return the name and the content of an object."""
    name = object_name(log, number, part, len(content))
    head, nonce = msgspec.json.encode(part), secrets.token_bytes(_NONCE_BYTES)
    plain = len(head).to_bytes(_HEAD_BYTES, "big") + head + content
    return name, nonce + _cipher(log).encrypt(nonce, plain, name.encode())


def unseal(log: WriteLog, name: str, sealed: bytes) -> tuple[Part, bytes]:
    """Return the part and its bytes. Raises BackupDamaged if the object is not the one of this name."""
    try:
        plain = _cipher(log).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], name.encode())
        end = _HEAD_BYTES + int.from_bytes(plain[:_HEAD_BYTES], "big")
        return msgspec.json.decode(plain[_HEAD_BYTES:end], type=Part), plain[end:]
    except (InvalidTag, ValueError) as error:
        raise BackupDamaged(f"{name} was changed, or another key encrypted it") from error


async def fetch(storage: Storage, log: WriteLog, folder: Path, progress: Callable[[int], None]) -> list[Path]:
    """Store the files of a log in a folder, for their owner only. Return them. Raises
    BackupDamaged, StorageFailed, OSError.

    :param progress: called with the bytes that are stored.
    """
    done = 0
    async with aclosing(_objects(storage, log)) as objects:
        async for name, sealed in objects:
            done += await asyncio.to_thread(_append, log, name, sealed, folder)
            progress(min(done, log.size))
    return await asyncio.to_thread(_cut, log, folder)


async def _objects(storage: Storage, log: WriteLog) -> AsyncGenerator[tuple[str, bytes], None]:
    """Yield the recorded objects in order, also those of interrupted attempts. Some are requested ahead: most are
    small, and a service takes its time for each."""
    names = iter(sorted(name for name in await storage.names(log.folder) if _is_recorded(name, log)))
    ahead: deque[tuple[str, asyncio.Task[bytes | None]]] = deque()
    try:
        while True:
            while len(ahead) < _AHEAD and (name := next(names, None)) is not None:
                ahead.append((name, asyncio.create_task(storage.get(name))))
            if not ahead:
                return
            name, request = ahead[0]
            sealed = await request
            ahead.popleft()
            if sealed is None:
                raise BackupDamaged(f"{name} is missing in {storage.name}")
            yield name, sealed
    finally:
        if ahead:
            await end_tasks(*(request for _, request in ahead))


def _is_recorded(name: str, log: WriteLog) -> bool:
    """Whether an object is one of the log, or of an interrupted attempt to store such a one."""
    found = _NAME.fullmatch(name)
    return found is not None and int(found[1]) < log.objects


def _append(log: WriteLog, name: str, sealed: bytes, folder: Path) -> int:
    """Append the bytes that the file does not have yet: an interrupted attempt has stored some of them as well. Return
    their number."""
    part, content = unseal(log, name, sealed)
    if part.file not in log.stored:
        raise BackupDamaged(f"{name} has a file that is not one of the log")
    require_reserve(folder, len(content))
    path = folder / part.file
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, _OWNER_ONLY), "ab") as file:
        if file.tell() < part.start:
            raise BackupDamaged(f"{name} does not continue {part.file}")
        return file.write(content[file.tell() - part.start :])


def _cut(log: WriteLog, folder: Path) -> list[Path]:
    """Return the files. They end where the record ends. Raises BackupDamaged if they are shorter."""
    found = []
    for name, length in log.stored.items():
        path = folder / name
        size = path.stat().st_size if path.exists() else 0
        if size < length:
            raise BackupDamaged(f"{log.folder}: {size} bytes of {length} of {name} were found")
        if length:
            os.truncate(path, length)
            found.append(path)
        else:
            path.unlink(missing_ok=True)
    return found


def _cipher(log: WriteLog) -> AESGCM:
    return AESGCM(base64.b64decode(log.key))
