"""Encryption of secrets at rest. The key is in a separate file, so that a stolen database reveals no secrets.

Fernet (AES-128-CBC with HMAC-SHA256) of the `cryptography` library. The key file has one key per line: the first
encrypts, all decrypt. To rotate keys, add the new one as the first line.
"""

import os
import stat
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from cachewright.errors import CachewrightError

_OWNER_ONLY = stat.S_IRUSR | stat.S_IWUSR
_SHORT = 256
"""Length of sealed passwords, and of nothing longer."""

_MOST_SHORT, _MOST_LONG = 65_536, 1024
"""Numbers of secrets that are cached. Loops read the passwords of all instances in the same order, so a cache for fewer
would be of no use to them. A password takes about half a kilobyte there."""


class WrongKey(CachewrightError):
    """A secret was encrypted with another key, or the key file has no valid key."""


class SecretCipher:
    def __init__(self, keys: Sequence[bytes], source: str = "the key in use") -> None:
        """Encrypt with the first of `keys`, decrypt with all. Raises WrongKey if a key is invalid or `keys` is empty.

        :param keys: 32 bytes each, base64url.
        :param source: origin of the keys, for messages.
        """
        self._source = source
        if not keys:
            raise WrongKey(f"{source}: it is empty")
        try:
            self._fernet = MultiFernet([Fernet(key) for key in keys])
        except ValueError as error:
            raise WrongKey(f"{source}: not a key: {error}") from error
        # Requests use the same few secrets repeatedly. Caching is safe: the key that decrypts them is in memory too.
        self._short = lru_cache(_MOST_SHORT)(self._decrypted)
        self._long = lru_cache(_MOST_LONG)(self._decrypted)

    def encrypt(self, text: str) -> str:
        return self._fernet.encrypt(text.encode()).decode()

    def decrypt(self, sealed: str) -> str:
        """Return the secret. Raises WrongKey if it was encrypted with another key."""
        return self._short(sealed) if len(sealed) <= _SHORT else self._long(sealed)

    def decrypt_once(self, sealed: str) -> str:
        """Same as `decrypt`, for texts that are large or rarely read: they are not cached."""
        return self._decrypted(sealed)

    def _decrypted(self, sealed: str) -> str:
        try:
            return self._fernet.decrypt(sealed.encode()).decode()
        except InvalidToken as error:
            raise WrongKey(f"{self._source}: a secret in the database was sealed with another key") from error


def read_key(path: Path) -> SecretCipher:
    """Return the cipher of a key file. Raises OSError if it cannot be read, WrongKey if it has no valid key."""
    return SecretCipher(path.read_bytes().split(), str(path))


def make_key(path: Path) -> SecretCipher:
    """Create a key file that only its owner can read, and return its cipher. Raises OSError if it exists or cannot be
    created."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _OWNER_ONLY)
    with os.fdopen(descriptor, "wb") as file:
        file.write(Fernet.generate_key() + b"\n")
        file.flush()
        os.fsync(file.fileno())
    return read_key(path)
