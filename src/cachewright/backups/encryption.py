"""Encryption of the files of a backup: AES-256-GCM, in chunks.

Each file has a random key that encrypts nothing else, so that the number of a chunk can be its nonce. What a chunk
belongs to is authenticated with it: the folder of the snapshot, the shard, its number, and whether it is the last one.
So no chunk can be changed, replaced, repeated or left out.
"""

import base64
import secrets
from collections.abc import Iterator

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from cachewright.backups.storage import BackupDamaged

CHUNK_BYTES = 1024 * 1024
"""Bytes of a file that are encrypted together."""

TAG_BYTES = 16
CHUNKS_OF_OBJECT = 16
"""Objects are put whole, because an interrupted upload in parts could not be found again."""

_KEY_BYTES = 32
_NONCE_BYTES = 12


def new_key() -> str:
    """Return a random key, base64."""
    return base64.b64encode(secrets.token_bytes(_KEY_BYTES)).decode()


def chunk_count(size: int) -> int:
    return max(-(-size // CHUNK_BYTES), 1)


def object_count(size: int) -> int:
    """Return the number of objects of a file."""
    return -(-chunk_count(size) // CHUNKS_OF_OBJECT)


def object_name(folder: str, shard: int, number: int) -> str:
    """Return the name of an object of a shard's file."""
    return f"{folder}/shard-{shard}/{number:06}"


def object_size(size: int, number: int) -> int:
    """Return the bytes of one object of a file of `size` bytes."""
    first = number * CHUNKS_OF_OBJECT
    chunks = min(chunk_count(size) - first, CHUNKS_OF_OBJECT)
    plain = min(size - first * CHUNK_BYTES, chunks * CHUNK_BYTES)
    return plain + chunks * TAG_BYTES


class ChunkCipher:
    """Encrypts and decrypts the chunks of one file."""

    def __init__(self, key: str, folder: str, shard: int, size: int) -> None:
        """:param size: bytes of the file."""
        self._cipher = AESGCM(base64.b64decode(key))
        self._about = f"{folder}/{shard}"
        self._last = chunk_count(size) - 1

    def encrypt(self, number: int, chunk: bytes | memoryview) -> bytes:
        return self._cipher.encrypt(_nonce(number), chunk, self._context(number))

    def decrypt(self, number: int, sealed: bytes | memoryview) -> bytes:
        """Return the chunk. Raises BackupDamaged if it is not the one that was encrypted with this number."""
        try:
            return self._cipher.decrypt(_nonce(number), sealed, self._context(number))
        except InvalidTag as error:
            raise BackupDamaged(f"chunk {number} of {self._about} was changed, or another key encrypted it") from error

    def _context(self, number: int) -> bytes:
        return f"{self._about}/{number}/{'last' if number == self._last else 'more'}".encode()


def sealed_lengths(size: int) -> Iterator[int]:
    """Yield the bytes of each encrypted chunk of a file of `size` bytes, in order."""
    for number in range(chunk_count(size)):
        yield min(size - number * CHUNK_BYTES, CHUNK_BYTES) + TAG_BYTES


def _nonce(number: int) -> bytes:
    return number.to_bytes(_NONCE_BYTES, "big")
