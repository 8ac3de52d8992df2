"""Progress of a slot range, computed from the bytes that the source has sent and the keys on the target.

A batch is started, which no counter shows, copied, which counters show, and then handed over and deleted on the source,
which no counter shows: the source does not respond meanwhile. All are parts of the work. See docs/decisions/0003, 0006
and 0049 for the counters.
"""

from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Literal

import msgspec
from msgspec.structs import replace

from cachewright.valkey.client import Valkey
from cachewright.valkey.migration.jobs import Job, count_keys
from cachewright.valkey.migration.range_size import BatchShare, LargeValues, RangeSize, mixed
from cachewright.valkey.slots import slots_of

Phase = Literal["to start", "in progress", "finished", "failed"]

_SAMPLED_SLOTS = 128
_STREAMING = {"replicating", "waiting-to-pause", "failover-paused", "failover-granted"}
_COPIED = _STREAMING | {"success"}
_COPYING = _STREAMING | {"snapshotting"}
_ALMOST_ALL, _ALMOST_NOTHING = 0.999, 2**20


class Transfer(msgspec.Struct, frozen=True, kw_only=True):
    """Progress of a range at one time.

    :ivar share: finished share of the work, 0 to 1.
    :ivar uncounted: further share that passes now without a counter.
    :ivar deletion: the last part of it, in which the source deletes what it has handed over.
    :ivar scale: the work as known now, as a multiple of the planned work; None for no change.
    """

    full: Phase
    increment: Phase
    keys: int
    bytes: int
    share: float
    uncounted: float = 0.0
    deletion: float = 0.0
    scale: float | None = None


class TransferProgress:
    """Measures the progress of one range.

    :ivar counts: keys by slot at the start, of slots that had not moved yet.
    :ivar bytes_by_key: bytes of keys that moved one by one, which the source does not count as exported.
    """

    def __init__(
        self, counts: Mapping[int, int], size: RangeSize, exported_before: int, share: BatchShare | None = None
    ) -> None:
        """Begin to measure a range.

        :param exported_before: bytes that the source had sent when it started.
        :param share: how many keys of the task have moved in small batches.
        """
        slots = list(counts)
        self.counts = counts
        self.bytes_by_key = 0
        self._size = size
        self._exported_before = self._last = exported_before
        self._until_restart = 0
        self._sample = slots[:: max(len(slots) // _SAMPLED_SLOTS, 1)]
        self._expected_sample = sum(counts[slot] for slot in self._sample)
        self._expected_keys = sum(counts.values())
        self._keys_before = max(size.keys - self._expected_keys, 0)
        self._large_before = self._large_in(size.large.keys() - counts.keys()).worth
        self._large = self._large_in(counts.keys()).worth
        self._share = share or BatchShare()
        self._small = size.small_batches
        self._is_small = size.small_share > 1 / 2
        self._present = size.small_batches if self._is_small else size.large_batches
        self._batches: set[str] = set()
        self._handed_over: set[int] = set()
        self._finished = self._to_come(size.keys) - self._to_come(self._expected_keys) if self._keys_before else 0.0
        self._recorded = 0

    def bytes_transferred(self, exported: int) -> int:
        """Return the bytes of this range, given all bytes `exported` by the source."""
        if exported < self._last:  # the counter has restarted at zero
            self._until_restart += self._last - self._exported_before
            self._exported_before = 0
        self._last = exported
        return max(self._until_restart + exported - self._exported_before, 0) + self.bytes_by_key

    async def measure(self, target: Valkey, current: Sequence[Job], exported: int) -> Transfer:
        """Return the present progress, given the range's jobs in the log of the source, those in progress included, and
        all bytes `exported` by the source."""
        return self.transfer(sum((await count_keys(target, self._sample)).values()), current, exported)

    def transfer(self, arrived: int, current: Sequence[Job], exported: int) -> Transfer:
        """Return the progress. Pure, but for what it remembers. `arrived` are the keys of the sampled slots on the
        target."""
        of_keys = min(arrived / self._expected_sample, 1.0) if self._expected_sample else 1.0
        states = {job.state for job in current}
        transferred = self.bytes_transferred(exported)
        keys = round(of_keys * self._expected_keys)
        self.hand_over(current)
        moving = any(not job.awaits_snapshot for job in current) or keys > 0
        copying = any(job.awaits_snapshot or job.state == "snapshotting" for job in current)
        is_copied = not copying and of_keys >= 1.0
        work = self._work(current, arrived, transferred, of_keys)
        return Transfer(
            full="finished" if is_copied else "in progress" if moving else "to start",
            increment="in progress" if states & _COPIED else "to start",
            keys=keys,
            bytes=transferred,
            share=work.done / work.total if work.total else 0.0,
            uncounted=work.uncounted / work.total if work.total else 0.0,
            deletion=work.deletion / work.total if work.total else 0.0,
            scale=work.total / self._size.work if work.total and self._size.work else None,
        )

    def expect_batches(self, keys: int, *, small: bool = True) -> None:
        """Expect a batch of this number of keys, and more if they are not `small`."""
        self._is_small = small
        self._present = replace(self._size.small_batches if small else self._size.large_batches, keys=max(keys, 1))
        if small:
            usual = self._share.usual_small_batch(keys, self._size.small_batches.keys)
            self._small = replace(self._present, keys=usual)

    def hand_over(self, current: Iterable[Job]) -> None:
        """Record the slots and the work of the jobs that have succeeded."""
        for job in current:
            if job.state == "success" and job.name not in self._batches:
                slots = set(slots_of(job.ranges)) - self._handed_over
                keys, batch = self._keys_in(slots), self._present
                left = self._expected_keys - self._keys_in(self._handed_over)
                self._batches.add(job.name)
                self._handed_over |= slots
                self._finished += keys * (batch.key + batch.deletion) + batch.batch_while(left - keys / 2)
                self._record(keys, small=self._is_small)

    def by_key(self, moved: int) -> float:
        """Return the finished share of a range of which `moved` keys have moved one by one."""
        total = self._keys_before + self._expected_keys
        self._record(max(moved - self._recorded, 0), small=True)
        return min((self._keys_before + moved) / total, 1.0) if total else 0.0

    def _work(self, current: Sequence[Job], arrived: int, transferred: int, of_keys: float) -> "_Work":
        """Copies, deletions and batches, finished and in all. Writes that the source has buffered are work, too."""
        batch, running = self._present, [job for job in current if not job.ended]
        handed_over = self._keys_in(self._handed_over)
        copied = max(of_keys * self._expected_keys - handed_over, 0.0)
        present = max(self._keys_in({slot for job in running for slot in slots_of(job.ranges)}), copied)
        to_come = max(self._expected_keys - handed_over - present, 0.0)
        large = self._large_copied(current, transferred, of_keys)
        buffered = sum(job.remaining_repl_size for job in current) / max(self._size.bytes_per_key, 1.0)
        in_handover = self._in_handover(current, arrived, large_is_copied=large.present_is_done)
        left = max(self._expected_keys - handed_over - present / 2, 0.0)
        of_batch, start = batch.batch_while(left), batch.start_while(left)
        begun = sum(not job.awaits_snapshot for job in running)
        deletion = (in_handover or 0) * batch.deletion
        starts = bool(running) and not begun
        uncounted = start * starts if in_handover is None else of_batch - start + deletion
        return _Work(
            done=self._finished + begun * start + copied * batch.key + large.done,
            uncounted=uncounted,
            deletion=deletion,
            total=self._finished
            + present * (batch.key + batch.deletion)
            + len(running) * of_batch
            + (self._to_come(to_come) if to_come else 0.0)
            + self._large_before
            + self._large
            + buffered * batch.key,
        )

    def _to_come(self, keys: float) -> float:
        """Work of keys whose batches have not begun."""
        small_share = self._share.expected(self._size.small_share, self._size.keys)
        return mixed(keys, self._small, self._size.large_batches, small_share)

    def _large_copied(self, current: Sequence[Job], transferred: int, of_keys: float) -> "_LargeWork":
        """Finished work of large values. A key with a large value is on the target before all of its value is:
        meanwhile, bytes beyond those of ordinary keys tell how far it is."""
        finished = (job for job in current if job.state in _COPIED)
        running = (job for job in current if job.state == "snapshotting")
        copied = self._large_in(self._handed_over.union(*(slots_of(job.ranges) for job in finished)))
        copying = self._large_in({slot for job in running for slot in slots_of(job.ranges)})
        ordinary = of_keys * self._expected_keys * self._size.bytes_per_key
        beyond = max(transferred - ordinary - copied.bytes, 0.0)
        share = min(beyond / copying.bytes, 1.0) if copying.bytes else 1.0
        return _LargeWork(
            done=self._large_before + copied.worth + share * copying.worth, present_is_done=share >= _ALMOST_ALL
        )

    def _in_handover(self, current: Sequence[Job], arrived: int, *, large_is_copied: bool) -> int | None:
        """Return the number of keys of the batch that is copied, but not handed over yet; None if there is none. The
        source may stop answering before it reports the end of the copy, so arrived keys count as well."""
        for job in reversed(current):  # in the order in which the node runs them
            if not job.ended:
                slots = set(slots_of(job.ranges))
                expected = sum(self.counts[slot] for slot in self._sample if slot in self._handed_over or slot in slots)
                is_streamed = job.state in _COPYING and job.remaining_repl_size < _ALMOST_NOTHING
                is_copied = arrived >= expected * _ALMOST_ALL and (job.state in _STREAMING or large_is_copied)
                return self._keys_in(slots) if is_streamed and is_copied else None
        return None

    def _large_in(self, slots: Set[int]) -> LargeValues:
        """Return the sum of the large values in these slots."""
        found = [values for slot, values in self._size.large.items() if slot in slots]
        return LargeValues(bytes=sum(one.bytes for one in found), worth=sum(one.worth for one in found))

    def _record(self, keys: int, *, small: bool) -> None:
        self._recorded += keys
        self._share.record(keys, small=small)

    def _keys_in(self, slots: Iterable[int]) -> int:
        return sum(self.counts.get(slot, 0) for slot in slots)


class _LargeWork(msgspec.Struct, frozen=True, kw_only=True):
    """:ivar done: finished work of large values, in copies of ordinary keys.
    :ivar present_is_done: whether the batch that is copied now has no value left to copy.
    """

    done: float
    present_is_done: bool


class _Work(msgspec.Struct, frozen=True, kw_only=True):
    """Work of a range, in copies of ordinary keys.

    :ivar uncounted: what passes now without a counter, :ivar deletion: the part of it that is a deletion.
    """

    done: float
    uncounted: float
    deletion: float
    total: float
