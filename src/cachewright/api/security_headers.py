"""Security headers of responses, which restrict browsers."""

from collections.abc import Sequence

Header = tuple[bytes, bytes]

_A_YEAR_SECONDS = 365 * 24 * 3600
_ALWAYS: tuple[Header, ...] = ((b"x-content-type-options", b"nosniff"),)
_WITH_TLS: tuple[Header, ...] = ((b"strict-transport-security", f"max-age={_A_YEAR_SECONDS}".encode()),)

PAGE = {"referrer-policy": "no-referrer", "cross-origin-opener-policy": "same-origin"}
"""Headers of HTML pages, in addition to a content security policy."""


def security_headers(*, tls: bool) -> Sequence[Header]:
    """Return the headers of every response. Call it once: the most frequent requests take only microseconds.

    :param tls: whether the server itself uses HTTPS. A proxy with HTTPS must add `Strict-Transport-Security` itself.
    """
    return (*_ALWAYS, *_WITH_TLS) if tls else _ALWAYS
