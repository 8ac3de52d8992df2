"""Certificates that clients and sentinels of instances see, issued by the authority of the installation."""

from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from cachewright.clock import now_ms
from cachewright.model.instances import Instance
from cachewright.operations.maintenance_window import window_of
from cachewright.store import authorities
from cachewright.topologies import topology_of
from cachewright.valkey.certificates import (
    authority_certificate,
    expires_at,
    new_authority,
    server_certificate,
    voucher,
)

_RENEW_IN_WINDOW = timedelta(days=365)
_RENEW_ALWAYS = timedelta(days=30)


def issue(connection: sa.Connection, address: str) -> str:
    """Return a new certificate for the proxy at an address, as `server_certificate` does. Call it in a write
    transaction."""
    return server_certificate(clients_authority(connection), address)


def of_instance(connection: sa.Connection, instance: Instance) -> str:
    """Return `Instance.server_certificate` for an instance whose clients use TLS. Call it in a write transaction."""
    if topology_of(instance.spec_code).is_cluster and instance.node_ca is not None:
        return vouch(connection, instance.node_ca)
    return issue(connection, instance.address)


def known_to_sentinels(connection: sa.Connection, node_ca: str) -> str:
    """Return the authority of the nodes of an instance that is no cluster (`Instance.node_ca`), with certificates by
    which sentinels verify it. Call it in a write transaction."""
    sentinels_authority(connection)  # nodes trust it from their first start
    return node_ca + vouch(connection, node_ca)


def vouch(connection: sa.Connection, node_ca: str) -> str:
    """Return a certificate for the authority of the nodes of an instance, as `voucher` does. Call it in a write
    transaction."""
    return voucher(clients_authority(connection), node_ca)


def clients_authority(connection: sa.Connection) -> str:
    """Return the authority by which clients and sentinels verify instances, which the first call makes. Call it in a
    write transaction."""
    return authorities.find(connection, "clients") or _made(connection, "clients", new_authority("caches", below=1))


def sentinels_authority(connection: sa.Connection) -> str:
    """Return the authority by which nodes verify sentinels, as `clients_authority`."""
    return authorities.find(connection, "sentinels") or _made(connection, "sentinels", new_authority("sentinels"))


def of_sentinels(connection: sa.Connection) -> str:
    """Return `Sentinel.authority` of sentinels with TLS. Call it in a write transaction."""
    return sentinels_authority(connection) + authority_certificate(clients_authority(connection))


def _made(connection: sa.Connection, purpose: authorities.Purpose, authority: str) -> str:
    authorities.add(connection, purpose, authority)
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
