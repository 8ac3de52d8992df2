"""Calls to agents pass through the database, which must not learn their secrets: files of nodes contain passwords.

A call is encrypted for the agent of one host, whose private key never leaves that host. The answer is encrypted with a
key that only the caller and the agent know. X25519, HKDF and ChaCha20-Poly1305 of the `cryptography` library; each key
encrypts one text.
"""

import base64
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from cachewright.errors import CachewrightError
from cachewright.private_files import write_private

_KEY_BYTES = 32
_NONCE = bytes(12)


class WrongEnvelope(CachewrightError):
    """A call or an answer was encrypted for another agent, or changed."""


class Envelope:
    """The keys of one call."""

    def __init__(self, shared: bytes, info: bytes) -> None:
        keys = HKDF(SHA256(), 2 * _KEY_BYTES, salt=None, info=info).derive(shared)
        self._call, self._answer = ChaCha20Poly1305(keys[:_KEY_BYTES]), ChaCha20Poly1305(keys[_KEY_BYTES:])

    def seal_answer(self, answer: bytes) -> str:
        return _text(self._answer.encrypt(_NONCE, answer, None))

    def open_answer(self, sealed: str) -> bytes:
        """Raises WrongEnvelope."""
        return _opened(self._answer, _raw(sealed))

    def seal_call(self, call: bytes) -> bytes:
        return self._call.encrypt(_NONCE, call, None)

    def open_call(self, sealed: bytes) -> bytes:
        """Raises WrongEnvelope."""
        return _opened(self._call, sealed)


class AgentKey:
    """The private key of an agent."""

    def __init__(self, path: Path) -> None:
        """Read the key file, or create it, readable by its owner only. Raises OSError."""
        if not path.exists():
            write_private(path, X25519PrivateKey.generate().private_bytes_raw())
        self._private = X25519PrivateKey.from_private_bytes(path.read_bytes())

    @property
    def public(self) -> str:
        return _text(self._private.public_key().public_bytes_raw())

    def open(self, sealed: str) -> tuple[bytes, Envelope]:
        """Return the call and the envelope for its answer. Raises WrongEnvelope."""
        raw = _raw(sealed)
        sender, text = raw[:_KEY_BYTES], raw[_KEY_BYTES:]
        shared = self._private.exchange(X25519PublicKey.from_public_bytes(sender))
        envelope = Envelope(shared, sender + self._private.public_key().public_bytes_raw())
        return envelope.open_call(text), envelope


def seal(public: str, call: bytes) -> tuple[str, Envelope]:
    """Encrypt a call for the agent with this public key. Return it with the envelope of its answer."""
    private, recipient = X25519PrivateKey.generate(), _raw(public)
    sender = private.public_key().public_bytes_raw()
    envelope = Envelope(private.exchange(X25519PublicKey.from_public_bytes(recipient)), sender + recipient)
    return _text(sender + envelope.seal_call(call)), envelope


def _opened(cipher: ChaCha20Poly1305, sealed: bytes) -> bytes:
    try:
        return cipher.decrypt(_NONCE, sealed, None)
    except InvalidTag as error:
        raise WrongEnvelope("a call was encrypted for another agent") from error


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _raw(text: str) -> bytes:
    return base64.b64decode(text)
