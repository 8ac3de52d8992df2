"""Objects of a write log: consecutive parts of its files, each sealed by the key of the log (AES-256-GCM).

The log and the number of the object are authenticated with it, so that no object can be replaced or repeated. An object
may be stored again with other content, after an interrupted attempt, so its nonce is random.
"""

import asyncio
import base64
import os
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


class Part(msgspec.Struct, frozen=True):
    """:ivar start: place of the bytes in the file."""

    file: str
    start: int


def object_name(log: WriteLog, number: int) -> str:
    return f"{log.folder}/{number:08}"


def seal(log: WriteLog, number: int, part: Part, content: bytes) -> bytes:
    """Return the content of an object."""
    head, nonce = msgspec.json.encode(part), secrets.token_bytes(_NONCE_BYTES)
    plain = len(head).to_bytes(_HEAD_BYTES, "big") + head + content
    return nonce + _cipher(log).encrypt(nonce, plain, object_name(log, number).encode())


def unseal(log: WriteLog, number: int, sealed: bytes) -> tuple[Part, bytes]:
    """Return the part and its bytes. Raises BackupDamaged if the object is not the one with this number."""
    name = object_name(log, number)
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
        async for number, sealed in objects:
            done += await asyncio.to_thread(_append, log, number, sealed, folder)
            progress(done)
    if done != log.size:
        raise BackupDamaged(f"{log.folder}: {done} bytes of {log.size} were found")
    return [path for name in log.stored if (path := folder / name).exists()]


async def _objects(storage: Storage, log: WriteLog) -> AsyncGenerator[tuple[int, bytes], None]:
    """Yield the objects in order. Some are requested ahead: most are small, and a service takes its time for each."""
    numbers = iter(range(log.objects))
    ahead: deque[tuple[int, asyncio.Task[bytes | None]]] = deque()
    try:
        while True:
            while len(ahead) < _AHEAD and (number := next(numbers, None)) is not None:
                ahead.append((number, asyncio.create_task(storage.get(object_name(log, number)))))
            if not ahead:
                return
            number, request = ahead[0]
            sealed = await request
            ahead.popleft()
            if sealed is None:
                raise BackupDamaged(f"{object_name(log, number)} is missing in {storage.name}")
            yield number, sealed
    finally:
        if ahead:
            await end_tasks(*(request for _, request in ahead))


def _append(log: WriteLog, number: int, sealed: bytes, folder: Path) -> int:
    part, content = unseal(log, number, sealed)
    if part.file not in log.stored:
        raise BackupDamaged(f"{object_name(log, number)} has a file that is not one of the log")
    require_reserve(folder, len(content))
    path = folder / part.file
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, _OWNER_ONLY), "ab") as file:
        if file.tell() != part.start:
            raise BackupDamaged(f"{object_name(log, number)} does not continue {part.file}")
        file.write(content)
    return len(content)


def _cipher(log: WriteLog) -> AESGCM:
    return AESGCM(base64.b64decode(log.key))
