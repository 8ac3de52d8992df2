"""Secrets at rest: sealed with a key that lies in a file of its own, so that a stolen database reveals none.

Fernet (AES-128-CBC with HMAC-SHA256) of the `cryptography` library. The key file has one key on each line: the first
seals, every one opens, so a new key is put before the old one.
"""

import os
import stat
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from cachewright.errors import CachewrightError

_OWNER_ONLY = stat.S_IRUSR | stat.S_IWUSR
_MOST_CACHED = 1024


class WrongKey(CachewrightError):
    """What is sealed was sealed with another key, or the key file holds none."""


class SecretCipher:
    def __init__(self, keys: Sequence[bytes], source: str = "the key in use") -> None:
        """`keys` are 32 bytes each, base64url. WrongKey where one is not, or there is none.

        :param source: where they are from, for messages.
        """
        self._source = source
        if not keys:
            raise WrongKey(f"{source}: it is empty")
        try:
            self._fernet = MultiFernet([Fernet(key) for key in keys])
        except ValueError as error:
            raise WrongKey(f"{source}: not a key: {error}") from error
        # Requests are signed with few secrets, over and over. The key that opens them all is in memory too.
        self._cached = lru_cache(_MOST_CACHED)(self._decrypted)

    def encrypt(self, text: str) -> str:
        return self._fernet.encrypt(text.encode()).decode()

    def decrypt(self, sealed: str) -> str:
        """WrongKey where it was not sealed with one of these keys."""
        return self._cached(sealed)

    def _decrypted(self, sealed: str) -> str:
        try:
            return self._fernet.decrypt(sealed.encode()).decode()
        except InvalidToken as error:
            raise WrongKey(f"{self._source}: a secret in the database was sealed with another key") from error


def read_key(path: Path) -> SecretCipher:
    """The cipher of this key file. OSError where it cannot be read, WrongKey where it holds no key."""
    return SecretCipher(path.read_bytes().split(), str(path))


def make_key(path: Path) -> SecretCipher:
    """A new key file, readable by its owner alone. OSError where it cannot be made, or is there."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _OWNER_ONLY)
    with os.fdopen(descriptor, "wb") as file:
        file.write(Fernet.generate_key() + b"\n")
        file.flush()
        os.fsync(file.fileno())
    return read_key(path)
