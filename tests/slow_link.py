"""A link between two machines that takes its time and loses packets: `slow_link.py FAR NEAR NAMESPACE SECONDS LOSS`.

It passes real frames between the new tap devices FAR, on this machine, and NEAR, on the one with that namespace.
Kernels without sch_netem can delay packets in no other way. It ends with its standard input.
"""

import ctypes
import fcntl
import heapq
import itertools
import os
import random
import select
import struct
import sys
import time
from pathlib import Path

_NEW_NETWORK = 0x40000000
_SET_DEVICE, _TAP_WITHOUT_HEADER = 0x400454CA, 0x0002 | 0x1000
"""TUNSETIFF and IFF_TAP | IFF_NO_PI of linux/if_tun.h."""

_LARGEST_FRAME = 65536


def open_tap(name: str) -> int:
    """Create a tap device in the network namespace of this thread."""
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(descriptor, _SET_DEVICE, struct.pack("16sH", name.encode(), _TAP_WITHOUT_HEADER))
    return descriptor


def connect(far: int, near: int, seconds: float, loss: float) -> None:
    """Pass frames until the standard input ends. Frames of one direction stay in order."""
    other, order = {far: near, near: far}, itertools.count()
    on_the_way: list[tuple[float, int, int, bytes]] = []
    while True:
        left = max(on_the_way[0][0] - time.monotonic(), 0.0) if on_the_way else None
        readable, _, _ = select.select([far, near, sys.stdin], [], [], left)
        if sys.stdin in readable:
            return
        for source in readable:
            frame = os.read(source, _LARGEST_FRAME)
            if random.random() >= loss:
                heapq.heappush(on_the_way, (time.monotonic() + seconds, next(order), other[source], frame))
        while on_the_way and on_the_way[0][0] <= time.monotonic():
            _, _, target, frame = heapq.heappop(on_the_way)
            write(target, frame)


def write(target: int, frame: bytes) -> None:
    try:
        os.write(target, frame)
    except OSError:
        return  # the device is down: a cable would lose the frame too


def main() -> None:
    far_name, near_name, namespace, seconds, loss = sys.argv[1:]
    far = open_tap(far_name)
    with Path(namespace).open("rb") as other:
        if ctypes.CDLL(None).setns(other.fileno(), _NEW_NETWORK):
            sys.exit("the namespace cannot be entered")
    near = open_tap(near_name)
    sys.stdout.write("connected\n")
    sys.stdout.flush()
    connect(far, near, float(seconds), float(loss))


if __name__ == "__main__":
    main()
