"""List the sockets of the HTTP server every second, and close those that `api.connections` chooses.

The HTTP server gives no access to its sockets, so they are searched among the open files of this process. A file number
can be reused between two searches; the inode shows whether it is still the same socket.
"""

import asyncio
import logging
import os
import socket
import stat
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import msgspec

from cachewright.api.connections import (
    NO_REQUEST,
    STOP,
    TOO_MANY,
    TOO_MANY_OF_ADDRESS,
    Client,
    Connection,
    Connections,
    to_close,
    to_close_at_end,
)
from cachewright.config import RequestLimits
from cachewright.hosts.addresses import network

log = logging.getLogger(__name__)

_OPEN_FILES = Path("/proc/self/fd")
_BETWEEN_LOOKS = 1.0
_BETWEEN_LOOKS_IF_CROWDED = 0.25
_CROWDED = 0.8
_BETWEEN_REPORTS = 60.0
_REPORTED = {NO_REQUEST, TOO_MANY_OF_ADDRESS, TOO_MANY}
_STALL_SECONDS = 5.0
"""Pause between two searches after which no connection counts as overdue, because its requests waited for this process.
"""
_IN_ONE_GO = 500
_UNREAD_MS = 60_000
_INTERNET = {socket.AF_INET, socket.AF_INET6}


class _File(msgspec.Struct, frozen=True):
    """A socket among the open files.

    :ivar client: the peer; None if the socket is not a connection of the HTTP server.
    """

    inode: int
    client: Client | None
    opened: float


class ConnectionWatch:
    """Closes connections that are silent, idle, or too many."""

    def __init__(
        self,
        connections: Connections,
        limits: RequestLimits,
        *,
        port: int,
        most: int,
        count_closed: Callable[[str, int], None],
    ) -> None:
        """:param port: port on which the server listens.
        :param most: number of connections that the server accepts.
        :param count_closed: called with a reason and the number of connections that were closed for it.
        """
        self._connections = connections
        self._limits = limits
        self._port = port
        self._most = most
        self._count_closed = count_closed
        self._unreported: Counter[str] = Counter()
        self._reported = -_BETWEEN_REPORTS
        self._files: dict[int, _File] = {}
        self._looked = time.perf_counter()

    async def run(self) -> None:
        """Close connections until cancelled."""
        while True:
            crowded = len(self._files) > self._most * _CROWDED
            await asyncio.sleep(_BETWEEN_LOOKS_IF_CROWDED if crowded else _BETWEEN_LOOKS)
            await self._search_and_close()

    def close_unidentified(self) -> None:
        """Close every connection without a request of a known sender, when the server stops."""
        self._list_files(_open_files())
        self._close(to_close_at_end(self._open(), time.perf_counter()))

    def close_all(self) -> None:
        self._list_files(_open_files())
        self._close({connection.socket: STOP for connection in self._open()})

    async def _search_and_close(self) -> None:
        now = time.perf_counter()
        stalled = now - self._looked > _STALL_SECONDS
        self._looked = now
        numbers = _open_files()
        for start in range(0, len(numbers), _IN_ONE_GO):
            self._list_files(numbers[start : start + _IN_ONE_GO])
            await asyncio.sleep(0)  # let other requests run
        for number in self._files.keys() - set(numbers):
            del self._files[number]
        if not stalled:
            self._close(to_close(self._open(), self._limits, self._most, time.perf_counter()))
        self._connections.forget({file.client for file in self._files.values() if file.client}, before=now)

    def _list_files(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            file = self._files.get(number)
            try:
                status = os.fstat(number)
                if not stat.S_ISSOCK(status.st_mode):
                    self._files.pop(number, None)
                elif file is None or file.inode != status.st_ino:
                    self._files[number] = self._file(number)
            except OSError:  # closed in the meantime
                self._files.pop(number, None)

    def _file(self, number: int) -> _File:
        """Return the socket with this file number. Raises OSError if it is closed."""
        with _copy(number) as copy:
            inode = os.fstat(copy.fileno()).st_ino
            return _File(inode, self._client(copy), time.perf_counter())

    def _client(self, connection: socket.socket) -> Client | None:
        if connection.family not in _INTERNET or connection.getsockname()[1] != self._port:
            return None
        try:
            address, port = connection.getpeername()[:2]
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNREAD_MS)
        except OSError:  # a listening socket, or a connection that was reset
            return None
        return address, str(port)

    def _open(self) -> list[Connection]:
        return [
            _connection(number, file.client, file.opened, self._connections)
            for number, file in self._files.items()
            if file.client
        ]

    def _close(self, reasons: dict[int, str]) -> None:
        """Shut connections down. The HTTP server notices that and closes the files itself."""
        closed: Counter[str] = Counter()
        for number, reason in reasons.items():
            file = self._files[number]
            with suppress(OSError), _copy(number) as copy:
                if os.fstat(copy.fileno()).st_ino == file.inode:
                    copy.shutdown(socket.SHUT_RDWR)
                    closed[reason] += 1
        for reason, count in closed.items():
            self._count_closed(reason, count)
        self._unreported += closed
        self._report(time.perf_counter())

    def _report(self, now: float) -> None:
        """Log the number of closed connections, at most one line per minute."""
        counts = {reason: count for reason, count in self._unreported.items() if reason in _REPORTED}
        if counts and now - self._reported > _BETWEEN_REPORTS:
            log.info("connections closed: %s", ", ".join(f"{count} ({reason})" for reason, count in counts.items()))
            self._unreported.clear()
            self._reported = now


@contextmanager
def _copy(number: int) -> Iterator[socket.socket]:
    """Yield another file number of the same socket, which cannot be reused meanwhile. Raises OSError if it is not a
    socket.

    In that case the number has just been reused, and the copy is left open deliberately: closing a copy of a file would
    release the locks of this process on it (POSIX advisory locks), on which SQLite relies.
    """
    with closing(socket.socket(fileno=os.dup(number))) as copy:
        yield copy


def _open_files() -> list[int]:
    with os.scandir(_OPEN_FILES) as entries:
        return [int(entry.name) for entry in entries]


def _connection(number: int, client: Client, opened: float, connections: Connections) -> Connection:
    requests = connections.of(client)
    if requests is None:
        return Connection(number, network(client[0]), opened)
    return Connection(number, network(client[0]), opened, requests.last, requests.under_way, requests.identified)
