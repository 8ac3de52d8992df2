"""Checks of the environment before a server starts. Errors are messages for the operator."""

import fcntl
import os
import socket
import ssl
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from limits import parse as parse_rate

from cachewright.config import Listen, Settings, show_ports
from cachewright.errors import CachewrightError
from cachewright.hosts.addresses import is_local
from cachewright.hosts.client_firewall import FirewallFailed
from cachewright.hosts.local import client_firewall
from cachewright.hosts.node_environment import AUTO, OFF, preloaded
from cachewright.hosts.server_binary import UnusableServer, require_version


class StartupError(CachewrightError):
    """The server cannot start, for the reason in the message."""


def require(settings: Settings) -> None:
    """Check the settings. StartupError if certificate, rates, addresses, ports or the Valkey server cannot be used."""
    _require_tls(settings)
    _require_rate(settings.rate_limit)
    _require_separate_ports(settings)
    if not is_local(settings.node_host):
        raise StartupError(f"--node-address {settings.node_host} is no address of this host")
    _require_rate(settings.change_rate_limit)
    try:
        for binary in settings.valkey_binaries:
            require_version(binary)
    except UnusableServer as unusable:
        raise StartupError(str(unusable)) from unusable
    _require_jemalloc(settings)
    _require_firewall(settings)


@contextmanager
def only_server_of(data_dir: Path) -> Iterator[None]:
    """Hold the lock of a data directory: two servers would both run its tasks. StartupError if it is taken."""
    descriptor = os.open(
        data_dir / "server.lock", os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, stat.S_IRUSR | stat.S_IWUSR
    )
    with os.fdopen(descriptor, "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as taken:
            raise StartupError(f"another server runs on {data_dir}") from taken
        yield


def free_port(listen: Listen) -> Listen:
    """The address to listen on, with a free port instead of port 0. StartupError if the port is taken."""
    family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((listen.host, listen.port))
        except OSError as error:
            raise StartupError(f"cannot listen on {listen.address}: {error.strerror}") from error
        return Listen(listen.host, probe.getsockname()[1])


def _require_tls(settings: Settings) -> None:
    """StartupError if certificate or key is missing, or they do not match."""
    if settings.tls_cert is None and settings.tls_key is None:
        return
    if settings.tls_cert is None or settings.tls_key is None:
        raise StartupError("--tls-cert and --tls-key must be given together")
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(settings.tls_cert, settings.tls_key)
    except ssl.SSLError as error:
        reason = error.reason or "not PEM"
        raise StartupError(f"cannot use {settings.tls_cert} with {settings.tls_key}: {reason}") from error
    except OSError as error:
        raise StartupError(f"cannot read {settings.tls_cert} and {settings.tls_key}: {error.strerror}") from error


def _require_jemalloc(settings: Settings) -> None:
    """Raise StartupError if `--jemalloc` names a library that nodes cannot use."""
    named = settings.jemalloc not in {AUTO, OFF}
    if named and not preloaded(settings.valkey_binary, settings.jemalloc):
        found = f"{settings.valkey_binary} does not use it"
        raise StartupError(f"--jemalloc {settings.jemalloc}: {found}; name a library of jemalloc, or use auto or off")


def _require_firewall(settings: Settings) -> None:
    """StartupError if `--nftables` is on and no rules can be loaded."""
    firewall = client_firewall(settings)
    try:
        if firewall is not None:
            firewall.check()
    except FirewallFailed as failure:
        need = "it needs nft (Debian: nftables), and root or CAP_NET_ADMIN"
        raise StartupError(f"--nftables cannot be used: {failure}; {need}") from failure


def _require_rate(text: str) -> None:
    try:
        accepted = parse_rate(text).amount > 0 and not set(text) & set(";,|")
    except ValueError:
        accepted = False
    if not accepted:
        raise StartupError(f"invalid rate {text!r}; examples: 200/second, 5000/minute")


def _require_separate_ports(settings: Settings) -> None:
    """StartupError if clients and the cluster bus would share ports: a firewall could not distinguish them."""
    (first, end), (first_peer, end_peer) = settings.node_ports, settings.bus_ports
    if first < end_peer and first_peer < end:
        shared = f"--bus-ports {show_ports(settings.bus_ports)} overlaps {show_ports(settings.node_ports)}"
        raise StartupError(f"{shared}, the ports for clients of caches")
