"""A source of migrations that says that it has little data, and sends what it likes as its snapshot."""

import socket
import socketserver
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from libvalkey import Reader

_INFO = {
    "redis_version": "7.0.15",
    "redis_mode": "standalone",
    "role": "master",
    "cluster_enabled": "0",
    "used_memory": "1000",
    "used_memory_dataset": "1000",
    "master_repl_offset": "1",
    "expired_keys": "0",
    "evicted_keys": "0",
    "db0": "keys=1,expires=0,avg_ttl=0",
}
_END = b"e" * 40
"""Mark of the end of a snapshot whose length was not said before."""

_PART = b"\x00" * 1024 * 1024
_VALUE_BYTES = 700 * 1024 * 1024
_REPEATED = 264
"""Bytes of a value that three bytes of a compressed one stand for."""


def endless() -> Iterator[bytes]:
    """A snapshot without an end."""
    yield b"REDIS0011"
    while True:
        yield _PART


def huge_value() -> Iterator[bytes]:
    """A snapshot of some megabytes with one value, which takes much memory when it is unpacked."""
    repeats = _VALUE_BYTES // _REPEATED
    packed = b"\x00x" + b"\xe0\xff\x00" * repeats
    unpacked = 1 + repeats * _REPEATED
    yield b"REDIS0011\xfe\x00\x00\x03key\xc3" + _length(len(packed)) + _length(unpacked) + packed + b"\xff" + bytes(8)
    yield _END


def _length(number: int) -> bytes:
    return b"\x80" + number.to_bytes(4, "big")


@contextmanager
def hostile_source(snapshot: Iterable[bytes]) -> Iterator[str]:
    """Its address, HOST:PORT. The snapshot is sent once."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            reader = Reader(encoding="utf-8")
            with suppress(OSError):
                while data := self.request.recv(65536):
                    reader.feed(data)
                    while (command := reader.gets()) is not False:
                        _answer(self.request, command, snapshot)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def _answer(connection: socket.socket, command: list[Any], snapshot: Iterable[bytes]) -> None:
    match command[0].upper():
        case "PING":
            connection.sendall(b"+PONG\r\n")
        case "INFO":
            text = "".join(f"{name}:{value}\r\n" for name, value in _INFO.items()).encode()
            connection.sendall(b"$%d\r\n%s\r\n" % (len(text), text))
        case "COMMAND":
            connection.sendall(b"*1\r\n*2\r\n$5\r\npsync\r\n:-3\r\n")
        case "PSYNC":
            connection.sendall(b"+FULLRESYNC %s 0\r\n$EOF:%s\r\n" % (b"a" * 40, _END))
            for part in snapshot:
                connection.sendall(part)
        case "REPLCONF" if "ACK" in command:
            pass
        case _:
            connection.sendall(b"+OK\r\n")
