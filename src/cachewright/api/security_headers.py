"""Headers of every response that tell browsers what they must not do with it."""

from collections.abc import Sequence

Header = tuple[bytes, bytes]

_A_YEAR_SECONDS = 365 * 24 * 3600
_ALWAYS: tuple[Header, ...] = ((b"x-content-type-options", b"nosniff"),)
_WITH_TLS: tuple[Header, ...] = ((b"strict-transport-security", f"max-age={_A_YEAR_SECONDS}".encode()),)

PAGE = {"referrer-policy": "no-referrer", "cross-origin-opener-policy": "same-origin"}
"""Headers of pages for people, besides a content security policy."""


def security_headers(*, tls: bool) -> Sequence[Header]:
    """Made once, since the most frequent requests are answered in microseconds.

    :param tls: the server itself speaks HTTPS; a proxy that does it adds its own `Strict-Transport-Security`.
    """
    return (*_ALWAYS, *_WITH_TLS) if tls else _ALWAYS
