"""A client that writes to an instance whose address changes, and finds it again after each error."""

import secrets
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from huaweicloudsdkcore.exceptions.exceptions import SdkException
from valkey import Valkey
from valkey.exceptions import ConnectionError as Unreachable

from caches import FAULTS
from sdk_calls import PASSWORD
from serving import until

_OPTIONS: dict[str, Any] = {"password": PASSWORD, "decode_responses": True, "socket_timeout": 3}
_WAIT_MS = 1000


class FollowingWriter(threading.Thread):
    """Writes new keys in the `with` block.

    :ivar acknowledged: numbers of the writes that must not be lost.
    """

    def __init__(self, find: Callable[[], Valkey], *, copies: int = 0) -> None:
        """:param find: connects to the node that takes writes.
        :param copies: replicas that must have confirmed a write (WAIT); 0 for none.
        """
        super().__init__(daemon=True)
        self._find = find
        self._copies = copies
        self._prefix = f"written:{secrets.token_hex(4)}"
        self._finishing = threading.Event()
        self.acknowledged: list[int] = []

    def __enter__(self) -> "FollowingWriter":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._finishing.set()
        self.join()

    def run(self) -> None:
        number, node = 0, None
        while not self._finishing.is_set():
            number += 1
            try:
                node = node or self._find()
                if self._write(node, number):
                    self.acknowledged.append(number)
            except (*FAULTS, SdkException):
                node = None
                time.sleep(0.02)

    def _write(self, node: Valkey, number: int) -> bool:
        if not self._copies:
            return bool(node.set(self._key(number), number))
        with node.pipeline(transaction=False) as both:  # on one connection
            both.set(self._key(number), number)
            both.execute_command("WAIT", self._copies, _WAIT_MS)
            done, confirmed = both.execute(raise_on_error=True)
        return bool(done and confirmed >= self._copies)

    def _key(self, number: int) -> str:
        return f"{self._prefix}:{number}"

    def wait_for(self, writes: int, seconds: float = 240) -> None:
        """Return when so many more writes have been acknowledged."""
        before = len(self.acknowledged)
        until(lambda: len(self.acknowledged) >= before + writes, "nothing is written", seconds)

    def lost(self, node: Valkey) -> list[int]:
        numbers = list(self.acknowledged)
        found = node.mget([self._key(number) for number in numbers])
        return [number for number, value in zip(numbers, found, strict=True) if value != str(number)]


def at_address(host: str, port: int, **options: Any) -> Valkey:
    """A client of the node at this address."""
    return Valkey(host=host, port=port, **(_OPTIONS | options))


def through_sentinels(places: Sequence[tuple[str, int]], instance_id: str) -> Valkey:
    """A client of the primary that the first sentinel which answers names, as libraries with Sentinel connect."""
    for host, port in places:
        try:
            with at_address(host, port, username=instance_id) as sentinel:
                found = sentinel.execute_command("SENTINEL", "GET-PRIMARY-ADDR-BY-NAME", instance_id)
        except FAULTS:
            continue
        if found:
            return at_address(found[0], int(found[1]))
    raise Unreachable("no sentinel knows the primary")
