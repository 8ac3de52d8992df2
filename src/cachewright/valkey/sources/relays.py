"""Relays: a gateway replicates a source with TLS through one, because a valkey-server may have no TLS.

A relay listens on the loopback address. It passes one connection on that begins as the one of its gateway, with a
password that exists for this relay alone, and signs in at the source itself. So no other process of the machine gets
data of the source, and one that takes over the port of a former relay gets no password of the source.

All relays run in one process of their own (`relay_process`), which decrypts without slowing down this one. They end
with this process; the next one starts new ones, and their gateways continue where they were, as after a lost link.
"""

import asyncio
import logging
import queue
import secrets
import subprocess
import sys
import threading
from contextlib import suppress

import msgspec

from cachewright.hosts.addresses import LOOPBACK
from cachewright.valkey.access import Address
from cachewright.valkey.sources.gateway import Followed
from cachewright.valkey.sources.relay_process import Ended, Order, Reply, Source

log = logging.getLogger(__name__)

_ANSWER_SECONDS = 30.0
_COMMAND = (sys.executable, "-m", Source.__module__)


class Relays:
    """The relays of this process, by the name of their gateway. Their process starts with the first one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: _RelayProcess | None = None
        self._open: dict[str, tuple[Source, Followed]] = {}

    async def ensure(self, name: str, place: Address) -> Followed:
        """Ensure that the gateway of this name has a relay to `place`, and return what it has to follow. OSError if
        this machine has no port or no process left."""
        fields = {field: getattr(place, field) for field in Source.__struct_fields__}
        return await asyncio.to_thread(self._ensure, name, Source(**fields))

    async def close(self, name: str) -> None:
        """End the relay of a gateway, if it has one."""
        if name in self._open:
            await asyncio.to_thread(self._close, name)

    async def end(self) -> None:
        """End all relays."""
        await asyncio.to_thread(self._end)

    def _ensure(self, name: str, source: Source) -> Followed:
        with self._lock:
            process = self._running()
            known = self._open.get(name)
            if known and known[0] == source:
                return known[1]
            order = Order(name, source, secrets.token_hex(32))
            followed = Followed(LOOPBACK, process.follow(order), None, order.token)
            self._open[name] = source, followed
            return followed

    def _close(self, name: str) -> None:
        with self._lock:
            if self._open.pop(name, None) and self._process:
                try:
                    self._process.follow(Order(name))
                except OSError as ended:
                    log.info("the relay of %s has ended: %s", name, ended)

    def _end(self) -> None:
        with self._lock:
            if self._process:
                self._process.end()
            self._process = None
            self._open.clear()

    def _running(self) -> "_RelayProcess":
        if self._process is None or not self._process.is_running():
            if self._process:
                self._process.end()
            self._open.clear()
            self._process = _RelayProcess()
        return self._process


class _RelayProcess:
    """The process of the relays. Its secrets come by a pipe: all users of the host can see arguments."""

    def __init__(self) -> None:
        """Start it. Raises OSError."""
        self._process = subprocess.Popen(
            _COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
        )
        self._replies: queue.SimpleQueue[Reply | None] = queue.SimpleQueue()
        threading.Thread(target=self._read, name="relays", daemon=True).start()

    def is_running(self) -> bool:
        return self._process.poll() is None

    def follow(self, order: Order) -> int:
        """Let it follow an order, and return the port of the relay. Raises OSError."""
        assert self._process.stdin  # noqa: S101  # it is a pipe
        self._process.stdin.write(msgspec.json.encode(order) + b"\n")
        self._process.stdin.flush()
        try:
            reply = self._replies.get(timeout=_ANSWER_SECONDS)
        except queue.Empty:
            self.end()
            raise OSError("the process of the relays does not answer") from None
        if reply is None or reply.error:
            raise OSError(reply.error if reply else "the process of the relays has ended")
        return reply.port

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        assert self._process.stdin  # noqa: S101  # it is a pipe
        with suppress(OSError):  # the pipe may hold an order that was not read
            self._process.stdin.close()

    def _read(self) -> None:
        assert self._process.stdout  # noqa: S101  # it is a pipe
        with self._process.stdout as lines:
            for line in lines:
                said = msgspec.json.decode(line, type=Reply | Ended)
                if isinstance(said, Reply):
                    self._replies.put(said)
                else:
                    log.info("the connection to %s through a relay has ended: %s", said.source, said.reason)
        self._replies.put(None)
