"""Certificates that clients of instances see, issued by the authority of the installation."""

from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from cachewright.clock import now_ms
from cachewright.model.instances import Instance
from cachewright.operations.maintenance_window import window_of
from cachewright.store import authorities
from cachewright.valkey.certificates import expires_at, new_authority, server_certificate

_RENEW_IN_WINDOW = timedelta(days=365)
_RENEW_ALWAYS = timedelta(days=30)


def issue(connection: sa.Connection, address: str) -> str:
    """Return a new certificate for an address, as `server_certificate` does. The first call makes the authority. Call
    it in a write transaction."""
    authority = authorities.find(connection)
    if authority is None:
        authority = new_authority("caches")
        authorities.add(connection, authority)
    return server_certificate(authority, address)


def is_due(instance: Instance, now: int | None = None) -> bool:
    """Whether the certificate of the instance should be renewed now. That closes connections of clients, so it happens
    in the maintenance window, except in the last days of the certificate. Pure.

    :param now: epoch milliseconds, in place of the present.
    """
    if instance.server_certificate is None:
        return False
    at = now_ms() if now is None else now
    left = expires_at(instance.server_certificate) - datetime.fromtimestamp(at / 1000, UTC)
    return left < _RENEW_ALWAYS or (left < _RENEW_IN_WINDOW and window_of(instance).contains(at))
