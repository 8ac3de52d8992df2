"""Connections as no client library would use them: silent, half-finished, and HTTP/2 frame by frame (RFC 9113)."""

import socket
import ssl
from collections.abc import Mapping
from contextlib import suppress

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS, SETTINGS_ACK = (4, 0), (4, 1)
_HEADERS_WHOLE = (1, 0x1 | 0x4)
_DATA = 0


def connect(port: int, source: str = "127.0.0.1") -> socket.socket:
    """`source` is any address of the loopback network."""
    return socket.create_connection(("127.0.0.1", port), timeout=30, source_address=(source, 0))


def over_tls(plain: socket.socket, *protocols: str) -> ssl.SSLSocket:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(list(protocols))
    return context.wrap_socket(plain)


def is_closed(connection: socket.socket) -> bool:
    """The other side has closed it. What it has sent before is thrown away."""
    patience = connection.gettimeout()
    connection.settimeout(0)
    try:
        while connection.recv(65536):
            pass
    except (BlockingIOError, ssl.SSLWantReadError):
        return False
    except OSError:
        return True
    finally:
        connection.settimeout(patience)
    return True


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def headers(fields: Mapping[str, str]) -> bytes:
    """Each field as an HPACK literal without indexing (RFC 7541, 6.2.2)."""
    return b"".join(b"\0" + _text(name) + _text(value) for name, value in fields.items())


def _text(text: str) -> bytes:
    raw = text.encode()
    assert len(raw) < 127, "longer ones take more than one byte for their length"
    return bytes((len(raw),)) + raw


class Http2:
    """One HTTP/2 connection."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._stream = -1
        connection.sendall(PREFACE + frame(*SETTINGS, 0))

    def get(self, path: str, **fields: str) -> bytes:
        """The raw header block of the answer."""
        self._stream += 2
        pseudo = {":method": "GET", ":scheme": "http", ":authority": "x", ":path": path}
        known = {name.replace("_", "-"): value for name, value in fields.items()}
        self._connection.sendall(frame(*_HEADERS_WHOLE, self._stream, headers(pseudo | known)))
        while True:
            kind, flags, stream, payload = self._frame()
            if (kind, flags) == SETTINGS:
                self._connection.sendall(frame(*SETTINGS_ACK, 0))
            if kind == 1 and stream == self._stream:
                return payload

    def _frame(self) -> tuple[int, int, int, bytes]:
        head = self._exactly(9)
        payload = self._exactly(int.from_bytes(head[:3], "big"))
        return head[3], head[4], int.from_bytes(head[5:], "big"), payload

    def _exactly(self, count: int) -> bytes:
        read = b""
        while len(read) < count:
            part = self._connection.recv(count - len(read))
            assert part, "the connection was closed"
            read += part
        return read


def close_all(connections: list[socket.socket]) -> None:
    for connection in connections:
        with suppress(OSError):
            connection.close()
