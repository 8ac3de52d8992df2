"""Shapes of settings of client connections: TLS, addresses behind a proxy. Types follow the SDK's models."""

import msgspec

from cachewright.model.instances import Instance


class TlsSwitchBody(msgspec.Struct, frozen=True):
    enabled: bool


class TlsSwitched(msgspec.Struct, frozen=True):
    job_id: str
    instance_id: str
    result: str = "success"


class TlsDetail(msgspec.Struct, frozen=True, kw_only=True):
    """Always off: clients connect without TLS."""

    enabled: bool = False
    ip: str
    port: str
    domain_name: str
    ssl_expired_at: str | None = None
    ssl_validated: bool = False


class Certificate(msgspec.Struct, frozen=True):
    """The certificate authority of an instance, as a file to download."""

    file_name: str
    link: str
    bucket_name: str


class ClientAddressesBody(msgspec.Struct, frozen=True):
    transparent_client_ip_enable: bool


def tls_detail(instance: Instance) -> TlsDetail:
    return TlsDetail(ip=instance.address, port=str(instance.seed_port), domain_name=instance.address)
