"""The clock of a host that may be set back: a second is offered only if it comes after every time in the files."""

from collections.abc import Mapping

from cachewright.backups.log_objects import PART_BYTES
from cachewright.clock import Clock
from cachewright.hosts.host import Host
from cachewright.threads import in_background
from cachewright.valkey.append_only_files import LikelyTimes, Times, number_of


class SeenClock:
    """:ivar latest: latest second that it has shown."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.latest = 0

    def __call__(self) -> int:
        now = self._clock()
        self.latest = max(self.latest, now // 1000)
        return now


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
