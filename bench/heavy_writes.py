"""Clients that replace large values at a high rate, in a separate process, `python -m bench.heavy_writes`.

The keys exist before `HeavyWrites` returns and are then only replaced, so the data of the cluster does not grow. Each
thread sends the values of one node in one go and then reads the replies. After a redirection it reads the owners of the
slots again; the redirected write is not repeated, because the key is written again soon.
"""

import contextlib
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any, Self, cast

import libvalkey
import msgspec
from valkey.client import Valkey
from valkey.exceptions import ValkeyError

from bench.content import tags
from cachewright.cli.demo.slot_client import Seed
from cachewright.valkey.slots import SlotRange, slots_of

_THREADS = 4
_AT_ONCE = 50
_REPLY_SECONDS = 30.0
_RETRY_SECONDS = 0.1
_RECEIVED_BYTES = 1 << 16

Address = tuple[str, int]


class HeavyWritesSpec(msgspec.Struct, frozen=True, kw_only=True):
    """`slots`: where the keys are; all slots if empty."""

    seed: Seed
    slots: tuple[SlotRange, ...] = ()
    keys: int = 10_000
    value_bytes: int = 4096
    per_second: int = 20_000


class HeavyWrites:
    """Starts and ends the process."""

    def __init__(self, spec: HeavyWritesSpec) -> None:
        """Start to write, and return when all keys exist."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.heavy_writes"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(msgspec.json.encode(spec) + b"\n")
        self._process.stdin.flush()
        if not self._process.stdout.readline():
            raise RuntimeError("the writing process has ended")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        with contextlib.suppress(BrokenPipeError), self._process:
            pass  # closes the pipes


class _Writer:
    """One thread with keys and connections of its own."""

    def __init__(self, seed: Seed, commands: Sequence[tuple[int, bytes]], per_second: float) -> None:
        """`commands`: SET commands with the slot of their key."""
        self._seed = seed
        self._commands = commands
        self._interval = _AT_ONCE / per_second
        self._links: dict[Address, socket.socket] = {}
        self._chunks: list[tuple[Address, int, bytes]] = []

    def write_all(self) -> None:
        """Write each key once. TimeoutError if the nodes do not accept that."""
        deadline = time.monotonic() + _REPLY_SECONDS
        self._find_owners()
        while not all(self._write(*chunk) for chunk in self._chunks):
            if time.monotonic() > deadline:
                raise TimeoutError("the nodes do not accept writes")
            self._find_owners()

    def run(self) -> None:
        due = time.monotonic()
        while True:
            complete = True
            for chunk in self._chunks:
                time.sleep(max(due - time.monotonic(), 0))
                complete = self._write(*chunk) and complete
                due = max(due + self._interval, time.monotonic() - self._interval)
            if not complete:
                self._find_owners()

    def _write(self, address: Address, count: int, packed: bytes) -> bool:
        """Send commands and read the replies. False unless all writes were accepted."""
        try:
            link = self._link(address)
            link.sendall(packed)
            replies = b""
            while replies.count(b"\r\n") < count:
                if not (received := link.recv(_RECEIVED_BYTES)):
                    raise ConnectionResetError
                replies += received
        except OSError:
            if lost := self._links.pop(address, None):
                lost.close()
            time.sleep(_RETRY_SECONDS)
            return False
        return b"-" not in replies

    def _link(self, address: Address) -> socket.socket:
        if address not in self._links:
            link = socket.create_connection(address, _REPLY_SECONDS)
            link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._links[address] = link
            if self._seed.password:
                link.sendall(libvalkey.pack_command(("AUTH", self._seed.password)))
                link.recv(_RECEIVED_BYTES)
        return self._links[address]

    def _find_owners(self) -> None:
        """Group the commands by the node that owns their slot."""
        owners = self._owners()
        by_node: dict[Address, list[bytes]] = {}
        for slot, packed in self._commands:
            by_node.setdefault(owners[slot], []).append(packed)
        self._chunks = [
            (address, len(packed[start : start + _AT_ONCE]), b"".join(packed[start : start + _AT_ONCE]))
            for address, packed in by_node.items()
            for start in range(0, len(packed), _AT_ONCE)
        ]

    def _owners(self) -> dict[int, Address]:
        while True:
            for host, port in dict.fromkeys([*self._links, (self._seed.host, self._seed.port)]):
                with (
                    contextlib.suppress(OSError, ValkeyError),  # try the next node, after the last one the first
                    Valkey(host=host, port=port, password=self._seed.password, socket_timeout=_RETRY_SECONDS) as node,
                ):
                    rows = cast(Any, node).execute_command("CLUSTER SLOTS")
                    return {
                        slot: (owner[0].decode(), owner[1])
                        for first, last, owner, *_ in rows
                        for slot in range(first, last + 1)
                    }
            time.sleep(_RETRY_SECONDS)


def _commands(spec: HeavyWritesSpec) -> list[tuple[int, bytes]]:
    slots = list(slots_of(spec.slots or [SlotRange(0, 16383)]))
    value = "x" * spec.value_bytes
    chosen = [slots[number * 7919 % len(slots)] for number in range(spec.keys)]
    return [
        (slot, libvalkey.pack_command(("SET", f"heavy:{{{tags()[slot]}}}:{number}", value)))
        for number, slot in enumerate(chosen)
    ]


def main() -> None:
    spec = msgspec.json.decode(sys.stdin.buffer.readline(), type=HeavyWritesSpec)
    commands = _commands(spec)
    writers = [_Writer(spec.seed, commands[part::_THREADS], spec.per_second / _THREADS) for part in range(_THREADS)]
    for writer in writers:
        writer.write_all()
    sys.stdout.buffer.write(b"under way\n")
    sys.stdout.buffer.flush()
    threads = [threading.Thread(target=writer.run, daemon=True) for writer in writers]
    for thread in threads:
        thread.start()
    sys.stdin.buffer.readline()  # ends with the process that started this one


if __name__ == "__main__":
    main()
