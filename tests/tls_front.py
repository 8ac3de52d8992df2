"""TLS in front of a server that has none, by HAProxy, with a certificate of an authority of its own."""

import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from cachewright.hosts.ports import free_ports
from cachewright.hosts.programs import find_haproxy
from cachewright.valkey.certificates import authority_certificate, new_authority, server_certificate
from serving import until

HAPROXY = find_haproxy()
_PORTS = (24000, 30000)


class TlsFront(msgspec.Struct, frozen=True):
    """:ivar authority: certificate of its authority, PEM."""

    port: int
    authority: str


@contextmanager
def tls_front(
    folder: Path, port: int, name: str = "127.0.0.1", client_authority: str | None = None
) -> Iterator[TlsFront]:
    """TLS in front of a port, with a certificate of this name. With a `client_authority` (its certificate, PEM) clients
    need a certificate of it."""
    authority = new_authority("test")
    (folder / "front.pem").write_text(server_certificate(authority, name))
    clients = ""
    if client_authority is not None:
        (folder / "clients.pem").write_text(client_authority)
        clients = f" ca-file {folder}/clients.pem verify required"
    while (found := _started(folder, port, clients)) is None:
        pass  # another program has taken the port
    process, front = found
    try:
        yield TlsFront(front, authority_certificate(authority))
    finally:
        process.kill()
        process.wait()


def _started(folder: Path, port: int, clients: str) -> tuple[subprocess.Popen[bytes], int] | None:
    front = next(free_ports("127.0.0.1", _PORTS, set()))
    config = folder / "front.cfg"
    config.write_text(
        "defaults\n    mode tcp\n    timeout connect 2s\n    timeout client 1h\n    timeout server 1h\n"
        f"listen front\n    bind 127.0.0.1:{front} ssl crt {folder}/front.pem{clients}\n"
        f"    server it 127.0.0.1:{port}\n"
    )
    with (folder / "front.log").open("wb") as log:
        process = subprocess.Popen([str(HAPROXY), "-db", "-f", str(config)], stdout=log, stderr=log)
    until(lambda: process.poll() is not None or _listens(front), "HAProxy does not listen")
    return (process, front) if process.poll() is None else None


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
