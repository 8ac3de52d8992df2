"""Clients that poll the progress of tasks, in a separate process: one thread, one epoll, raw sockets.

`python -m bench.polling_clients` reads an `Order` as JSON from standard input and writes an `Outcome`. Requests are
signed by the cloud's own signer before the measurement, so that only the server is measured. Each has a different
signature.
"""

import select
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

import msgspec
from huaweicloudsdkcore.auth.credentials import BasicCredentials
from huaweicloudsdkcore.sdk_request import SdkRequest
from huaweicloudsdkcore.signer.signer import Signer

_READ = 256 * 1024
_SIGNING_SECONDS = range(-600, 600)  # all within the server's window; each request has a different date
_SETTLE_SECONDS = 0.2
_NEVER = float("inf")


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """:ivar paths: paths to request, in turns.
    :ivar key: access key and secret key for signatures; None for unsigned requests.
    :ivar token: for X-Auth-Token.
    :ivar every: seconds between two requests of a connection; None to send the next one after each response.
    """

    host: str
    port: int
    paths: Sequence[str]
    connections: int
    seconds: float
    key: tuple[str, str] | None = None
    token: str | None = None
    every: float | None = None


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """In a paced run, the time of a request counts from when it was due, even if it was sent later."""

    per_second: float
    p50_ms: float
    p99_ms: float


class NotAnswered(Exception):
    """A response other than 200, or no response."""


def poll(order: Order) -> Outcome:
    """Run the pollers in a separate process."""
    command = [sys.executable, "-m", "bench.polling_clients"]
    done = subprocess.run(command, input=msgspec.json.encode(order), stdout=subprocess.PIPE, check=True)
    return msgspec.json.decode(done.stdout, type=Outcome)


def requests(order: Order) -> Iterator[bytes]:
    """Yield requests without end; bytes repeat only after all dates of all paths have been used."""
    now = datetime.now(UTC)
    signer = Signer(BasicCredentials(*order.key, "")) if order.key else None
    made = []
    for second in _SIGNING_SECONDS if signer else range(1):
        for path in order.paths:
            date = f"{now + timedelta(seconds=second):%Y%m%dT%H%M%SZ}"
            made.append(_request(order, path, signer, date))
    while True:
        yield from made


def _request(order: Order, path: str, signer: Signer | None, date: str) -> bytes:
    headers = {"Content-Type": "application/json", "User-Agent": "huaweicloud-usdk-python/3.0"}
    if order.token:
        headers["X-Auth-Token"] = order.token
    if signer:
        request = SdkRequest(
            method="GET",
            schema="http",
            host=f"{order.host}:{order.port}",
            resource_path=path,
            query_params=[],
            header_params={**headers, "X-Sdk-Date": date},
            body=b"",
        )
        headers = signer.sign(request).header_params
    else:
        headers["Host"] = f"{order.host}:{order.port}"
    lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    return "\r\n".join(lines).encode("latin-1")


class _Connection:
    def __init__(self, order: Order) -> None:
        self.socket = socket.create_connection((order.host, order.port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.due = 0.0
        self.busy = False
        self.answer = b""

    def send(self, request: bytes, due: float) -> None:
        self.due, self.busy, self.answer = due, True, b""
        self.socket.sendall(request)

    def read(self) -> bool:
        """Whether the response is complete."""
        part = self.socket.recv(_READ)
        if not part:
            raise NotAnswered("the server has closed the connection")
        self.answer = self.answer + part if self.answer else part
        return _whole(self.answer)


def _whole(answer: bytes) -> bool:
    head, end, body = answer.partition(b"\r\n\r\n")
    if not end:
        return False
    if not head.startswith(b"HTTP/1.1 200"):
        raise NotAnswered(answer[:400])
    _, _, length = head.partition(b"content-length: ")
    return len(body) >= int(length.partition(b"\r\n")[0])


class _Pollers:
    def __init__(self, order: Order) -> None:
        self._order = order
        self._requests = requests(order)
        next(self._requests)
        self._poll = select.epoll()
        self._known: dict[int, _Connection] = {}
        self._took: list[float] = []

    def run(self) -> Outcome:
        order = self._order
        for _ in range(order.connections):
            connection = _Connection(order)
            self._known[connection.socket.fileno()] = connection
            self._poll.register(connection.socket.fileno(), select.EPOLLIN)
        time.sleep(_SETTLE_SECONDS)
        begun = time.perf_counter()
        self._free(begun + order.seconds) if order.every is None else self._paced(begun, order.every)
        seconds = time.perf_counter() - begun
        for connection in self._known.values():
            connection.socket.close()
        took = sorted(self._took)
        return Outcome(
            per_second=len(took) / seconds,
            p50_ms=took[len(took) // 2] * 1000,
            p99_ms=took[int(len(took) * 0.99)] * 1000,
        )

    def _free(self, until: float) -> None:
        """Each connection sends its next request after each response."""
        for connection in self._known.values():
            connection.send(next(self._requests), time.perf_counter())
        while time.perf_counter() < until or len(self._took) < len(self._known):
            for connection in self._answered(_NEVER):
                connection.send(next(self._requests), time.perf_counter())

    def _paced(self, begun: float, every: float) -> None:
        """Each connection sends a request every `every` seconds, evenly spread; later if a response is missing."""
        gap = every / len(self._known)
        turns = deque((begun + place * gap, connection) for place, connection in enumerate(self._known.values()))
        waiting: deque[tuple[float, _Connection]] = deque()
        until = begun + self._order.seconds
        while (now := time.perf_counter()) < until or any(connection.busy for connection in self._known.values()):
            while turns and turns[0][0] <= min(now, until):
                due, connection = turns.popleft()
                turns.append((due + every, connection))
                waiting.append((due, connection))
            for _ in range(len(waiting)):
                due, connection = waiting.popleft()
                if connection.busy:
                    waiting.append((due, connection))
                else:
                    connection.send(next(self._requests), due)
            for _ in self._answered(turns[0][0]):
                pass

    def _answered(self, until: float) -> Iterator[_Connection]:
        """Connections with a complete response. `select` on the epoll waits with microsecond precision, its own `poll`
        only in whole milliseconds."""
        timeout = None if until == _NEVER else max(0.0, until - time.perf_counter())
        select.select([self._poll], [], [], timeout)
        for number, _ in self._poll.poll(0):
            connection = self._known[number]
            if connection.read():
                connection.busy = False
                self._took.append(time.perf_counter() - connection.due)
                yield connection


def main() -> None:
    order = msgspec.json.decode(sys.stdin.buffer.read(), type=Order)
    sys.stdout.buffer.write(msgspec.json.encode(_Pollers(order).run()))


if __name__ == "__main__":
    main()
