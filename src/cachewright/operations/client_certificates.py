"""Certificates that clients of instances see, issued by the authority of the installation."""

from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from cachewright.clock import now_ms
from cachewright.model.instances import Instance
from cachewright.operations.maintenance_window import window_of
from cachewright.store import authorities
from cachewright.valkey.certificates import expires_at, new_authority, server_certificate, voucher

_RENEW_IN_WINDOW = timedelta(days=365)
_RENEW_ALWAYS = timedelta(days=30)


def issue(connection: sa.Connection, address: str) -> str:
    """Return a new certificate for the proxy at an address, as `server_certificate` does. Call it in a write
    transaction."""
    return server_certificate(_authority(connection), address)


def of_instance(connection: sa.Connection, instance: Instance) -> str:
    """Return `Instance.server_certificate` for an instance whose clients use TLS. Call it in a write transaction."""
    if instance.node_ca is not None:
        return vouch(connection, instance.node_ca)
    return issue(connection, instance.address)


def vouch(connection: sa.Connection, node_ca: str) -> str:
    """Return a certificate for the authority of the nodes of a cluster, as `voucher` does. Call it in a write
    transaction."""
    return voucher(_authority(connection), node_ca)


def _authority(connection: sa.Connection) -> str:
    """Return the authority of the installation, which the first call makes."""
    authority = authorities.find(connection)
    if authority is None:
        authority = new_authority("caches", below=1)
        authorities.add(connection, authority)
    return authority


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
