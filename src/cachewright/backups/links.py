"""Links to files of backups: tokens that the server has sealed with its key, and that expire."""

import msgspec

from cachewright.errors import CachewrightError
from cachewright.store.encryption import SecretCipher, WrongKey

_PURPOSE = "backup file"


class LinkInvalid(CachewrightError):
    """The token is not one of this server, or was changed."""


class LinkExpired(CachewrightError):
    """The token was valid."""


class Link(msgspec.Struct, frozen=True):
    """A file of a backup. `expires_at` is in epoch milliseconds."""

    project_id: str
    backup_id: str
    shard: int
    expires_at: int


class _Sealed(msgspec.Struct, frozen=True):
    purpose: str
    link: Link


def seal_link(link: Link, cipher: SecretCipher) -> str:
    """Return the token of a link: encrypted and authenticated."""
    return cipher.encrypt(msgspec.json.encode(_Sealed(_PURPOSE, link)).decode())


def read_link(token: str, cipher: SecretCipher, now: int) -> Link:
    """Return the link of a token. Raises LinkInvalid, LinkExpired."""
    try:
        sealed = msgspec.json.decode(cipher.decrypt_once(token), type=_Sealed)
    except (WrongKey, msgspec.DecodeError, ValueError) as error:
        raise LinkInvalid("the token is not one of this server") from error
    if sealed.purpose != _PURPOSE:
        raise LinkInvalid("the token is for another purpose")
    if sealed.link.expires_at <= now:
        raise LinkExpired("the token has expired")
    return sealed.link
