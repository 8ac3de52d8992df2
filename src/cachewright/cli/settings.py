"""Options that commands share with `cachewright serve`. They need the same values there."""

import os
import shutil
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from cachewright.config import DEFAULT_BUS_PORTS, show_ports
from cachewright.hosts.client_firewall import find_nft
from cachewright.hosts.programs import find_haproxy
from cachewright.store.opening import has_password, parse_database_url

NODE_ADDRESS = "127.0.0.1"
BUS_PORTS = show_ports(DEFAULT_BUS_PORTS)
DATABASE_URL = "CACHEWRIGHT_DATABASE_URL"

BusPorts = Annotated[
    str,
    Parameter(
        help="FIRST-LAST: range of ports for the cluster bus of new nodes.",
        env_var="CACHEWRIGHT_BUS_PORTS",
    ),
]
NodeAddress = Annotated[
    str,
    Parameter(
        help="Address of this host that caches of new instances listen on. Beyond loopback they need passwords.",
        env_var="CACHEWRIGHT_NODE_ADDRESS",
    ),
]
ValkeyBinary = Annotated[
    Path | None,
    Parameter(
        help="valkey-server to run instead of the packaged one. If it supports TLS, nodes of new instances use TLS.",
        env_var="CACHEWRIGHT_VALKEY_BINARY",
    ),
]
OtherValkeyBinaries = Annotated[
    tuple[Path, ...],
    Parameter(
        help="Another valkey-server, for minor version upgrades of instances; repeatable.",
        env_var="CACHEWRIGHT_OTHER_VALKEY_BINARY",
        negative="",
    ),
]
Jemalloc = Annotated[
    str,
    Parameter(
        help="auto: nodes preload libjemalloc.so.2 if this host has it; off; or the path of the library.",
        env_var="CACHEWRIGHT_JEMALLOC",
    ),
]
Haproxy = Annotated[
    str,
    Parameter(
        help="auto: primary/standby instances get a proxy if this host has HAProxy; off; or the path of HAProxy.",
        env_var="CACHEWRIGHT_HAPROXY",
    ),
]
Nftables = Annotated[
    bool,
    Parameter(
        help="Load nftables rules that enforce whitelists of clusters. Needs nft and the right to change rules.",
        env_var="CACHEWRIGHT_NFTABLES",
        negative="",
    ),
]
BackupStorage = Annotated[
    str | None,
    Parameter(
        help="file:///FOLDER or s3://BUCKET/PREFIX for backups; a folder in the data directory if not given. "
        "Credentials are read from the environment: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL, ...",
        env_var="CACHEWRIGHT_BACKUP_STORAGE",
    ),
]
DatabaseUrl = Annotated[
    str | None,
    Parameter(
        help="Database, such as postgresql://user@host/name; SQLite in the data directory if not given. "
        f"A URL with a password is read from the environment alone: {DATABASE_URL}.",
    ),
]


def read_database_url(option: str | None) -> str | None:
    """Return the database URL from the option or the environment, in the form of `Settings`. Raises ValueError.

    The variable is removed from this process, so that the cache nodes it starts do not inherit the password.
    """
    from_environment = os.environ.pop(DATABASE_URL, None)
    if option is None:
        return parse_database_url(from_environment) if from_environment else None
    url = parse_database_url(option)
    if has_password(url):
        raise ValueError(
            "other users can read a password in --database-url in the process list; "
            f"set {DATABASE_URL} instead, or name a password file: ?passfile=/path"
        )
    return url


def absolute_binary(binary: Path) -> Path:
    """Absolute path of a path or of a name on PATH. Nodes start in other directories."""
    return Path(shutil.which(binary) or binary).absolute()


def haproxy_binary(haproxy: str) -> Path | None:
    """Return the path of HAProxy, None if it is off or not installed. Raises ValueError if a named path is missing."""
    if haproxy == "off":
        return None
    if haproxy == "auto":
        return find_haproxy()
    if not (path := Path(haproxy).absolute()).is_file():
        raise ValueError(f"--haproxy {haproxy} does not exist; use auto or off, or name HAProxy's path")
    return path


def nft_binary(*, nftables: bool) -> Path | None:
    """Return the path of nft, or its name if it is not found; None if it is not to be used."""
    return (find_nft() or Path("nft")) if nftables else None


def absolute_library(jemalloc: str) -> str:
    """Absolute path if the option is a path. Nodes start in other directories."""
    return str(Path(jemalloc).absolute()) if os.sep in jemalloc else jemalloc
