"""TLS of connections to nodes on other hosts, and to sources of migrations."""

import os
import ssl
from functools import lru_cache
from typing import Any

from cachewright.valkey.access import TLS_CONTEXTS, Address


def tls_options(place: Address) -> dict[str, Any]:
    """Return keyword arguments for a connection of asyncio with the TLS of an address; none without TLS. Raises
    ssl.SSLError if the certificates of its authorities, or its identity, are unreadable."""
    if place.authority is None:
        return {}
    context = _tls(place.authority, place.checks_name, place.identity)
    return {"ssl": context, "server_hostname": place.server_name or place.host}


@lru_cache(maxsize=TLS_CONTEXTS)
def _tls(authority: str, checks_name: bool, identity: str | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=authority or None)
    context.check_hostname = checks_name
    if identity is not None:
        load_identity(context, identity)
    return context


def load_identity(context: ssl.SSLContext, identity: str) -> None:
    """Give a context its private key and certificate. Python reads them from a file alone: this one is in memory.
    Raises ssl.SSLError if they are unreadable, the key is encrypted, or it belongs to another certificate."""
    descriptor = os.memfd_create("identity", os.MFD_CLOEXEC)
    try:
        with open(descriptor, "w", closefd=False) as file:
            file.write(identity)
        # Without a password OpenSSL would ask the terminal of the server for that of an encrypted key.
        context.load_cert_chain(f"/proc/self/fd/{descriptor}", password="")
    finally:
        os.close(descriptor)
