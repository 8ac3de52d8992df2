"""Shapes of settings of client connections: TLS, addresses behind a proxy. Types follow the SDK's models."""

from datetime import UTC, datetime

import msgspec

from cachewright.api.schemas import iso
from cachewright.model.instances import Instance


class TlsSwitchBody(msgspec.Struct, frozen=True):
    enabled: bool


class TlsSwitched(msgspec.Struct, frozen=True):
    job_id: str
    instance_id: str
    result: str = "success"


class TlsDetail(msgspec.Struct, frozen=True, kw_only=True):
    """:ivar ssl_expired_at: end of the validity of the certificate; null without TLS.
    :ivar ssl_validated: whether the certificate is valid now.
    """

    enabled: bool
    ip: str
    port: str
    domain_name: str
    ssl_expired_at: str | None
    ssl_validated: bool


class Certificate(msgspec.Struct, frozen=True):
    """The certificate authority of an instance, as a file to download."""

    file_name: str
    link: str
    bucket_name: str


class ClientAddressesBody(msgspec.Struct, frozen=True):
    transparent_client_ip_enable: bool


def tls_detail(instance: Instance, expires_at: datetime | None) -> TlsDetail:
    return TlsDetail(
        enabled=expires_at is not None,
        ip=instance.address,
        port=str(instance.seed_port),
        domain_name=instance.address,
        ssl_expired_at=None if expires_at is None else iso(int(expires_at.timestamp() * 1000)),
        ssl_validated=expires_at is not None and datetime.now(UTC) < expires_at,
    )
