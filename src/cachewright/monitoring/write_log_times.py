"""The clock of a host that may be set back: a second is offered only if it comes after every time in the files."""

from collections.abc import Mapping

from cachewright.backups.log_objects import PART_BYTES
from cachewright.clock import Clock
from cachewright.hosts.host import Host
from cachewright.threads import in_background
from cachewright.valkey.append_only_files import LikelyTimes, Times, number_of


class SeenClock:
    """:ivar latest: latest second that it has shown. :ivar ahead: as of `NodeClock`; the clock is the server's."""

    ahead = 0

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.latest = 0

    def __call__(self) -> int:
        now = self._clock()
        self.latest = max(self.latest, now // 1000)
        return now


class NodeClock:
    """The clock of another host, as a node there shows it.

    :ivar latest: latest second that the node has shown.
    :ivar ahead: milliseconds by which it is ahead of the clock of this machine, as last seen.
    """

    def __init__(self, clock: Clock) -> None:
        """:param clock: of this machine."""
        self._clock = clock
        self.ahead = 0
        self.latest = 0

    def see(self, shown: int) -> int:
        """Record a time that the node has shown, in epoch milliseconds. Return it."""
        self.ahead = shown - self._clock()
        self.latest = max(self.latest, shown // 1000)
        return shown

    def __call__(self) -> int:
        return self._clock() + self.ahead


async def latest_time(host: Host, node_id: str, folder: str, sizes: Mapping[str, int], clock: Clock) -> int:
    """Return the latest second in the increments of a folder of a node. Raises OSError.

    :param sizes: of its files, by name.
    """
    increments = {name: size for name, size in sizes.items() if number_of(name) is not None}
    likely = LikelyTimes()
    await _feed(host, node_id, folder, increments, likely)
    if likely.latest <= clock() // 1000:
        return likely.latest
    found = 0
    for name, size in increments.items():
        exact = Times()
        await _feed(host, node_id, folder, {name: size}, exact)
        found = max(found, exact.latest)
    return found


async def _feed(host: Host, node_id: str, folder: str, sizes: Mapping[str, int], times: LikelyTimes | Times) -> None:
    for name, size in sizes.items():
        for start in range(0, size, PART_BYTES):
            part = await host.read_part(node_id, f"{folder}/{name}", start, min(PART_BYTES, size - start))
            await in_background(times.feed, part)
