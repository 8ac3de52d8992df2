"""What travels over the loopback interface between addresses of hosts, as everybody on a network would see it."""

import ctypes
import socket
import struct
import threading
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

_IPV4, _TCP = 0x0800, 6
_ATTACH_FILTER = 26
"""SO_ATTACH_FILTER of Linux, which Python does not name."""

_STATISTICS, _PACKETS = 6, 263
"""PACKET_STATISTICS and SOL_PACKET."""

_BUFFER_BYTES, _LONGEST = 256 * 2**20, 2**16
_LOAD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_NOTHING = (_RETURN, 0, 0, 0)
"""The step of a filter that passes no packet."""

_SOURCE, _TARGET = 12, 16
"""Places of the addresses in a header of IPv4."""


class Seen:
    """:ivar streams: bytes by the port at a host, in the order of their packets.
    :ivar lost: packets that were too many.
    """

    def __init__(self) -> None:
        self.streams: dict[int, bytearray] = defaultdict(bytearray)
        self.lost = 0

    def ports_with(self, *texts: str) -> set[int]:
        """Return the ports at which one of these texts travels in clear."""
        return {port for port, seen in self.streams.items() if any(text.encode() in seen for text in texts)}


@contextmanager
def watched(addresses: Sequence[str]) -> Iterator[Seen]:
    """Record the packets of TCP from and to these addresses during the `with` block. Needs CAP_NET_RAW."""
    seen, over = Seen(), threading.Event()
    with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_IPV4)) as watching:
        watching.setsockopt(socket.SOL_SOCKET, getattr(socket, "SO_RCVBUFFORCE", 33), _BUFFER_BYTES)
        _filter(watching, addresses)
        watching.bind(("lo", _IPV4))
        watching.settimeout(0.1)
        reading = threading.Thread(target=_read, args=(watching, set(map(socket.inet_aton, addresses)), seen, over))
        reading.start()
        try:
            yield seen
        finally:
            _attach(watching, [_NOTHING])  # others may use these addresses, too
            over.set()
            reading.join()
            _, seen.lost = struct.unpack("II", watching.getsockopt(_PACKETS, _STATISTICS, 8))


def _filter(watching: socket.socket, addresses: Sequence[str]) -> None:
    """Let the kernel pass packets of these addresses alone."""
    count = len(addresses)
    program = []
    for place, after in ((_SOURCE, count + 2), (_TARGET, 1)):
        program.append((_LOAD, 0, 0, place))
        for number, address in enumerate(addresses):
            to_accept = (count - number - 1) + after
            program.append((_JUMP_IF_EQUAL, to_accept, 0, struct.unpack("!I", socket.inet_aton(address))[0]))
    _attach(watching, [*program, _NOTHING, (_RETURN, 0, 0, _LONGEST)])


def _attach(watching: socket.socket, program: Sequence[tuple[int, int, int, int]]) -> None:
    packed = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in program))
    watching.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, struct.pack("HL", len(program), ctypes.addressof(packed)))


def _read(watching: socket.socket, addresses: set[bytes], seen: Seen, over: threading.Event) -> None:
    while True:
        try:
            packet, origin = watching.recvfrom(_LONGEST)
        except TimeoutError:
            if over.is_set():
                return
            continue
        if origin[2] == socket.PACKET_OUTGOING or packet[9] != _TCP:
            continue  # each packet of loopback is seen twice
        header = (packet[0] & 15) * 4
        source, target = struct.unpack_from("!HH", packet, header)
        payload = packet[header + (packet[header + 12] >> 4) * 4 :]
        if payload:
            for address, port in ((packet[12:16], source), (packet[16:20], target)):
                if address in addresses:
                    seen.streams[port].extend(payload)
