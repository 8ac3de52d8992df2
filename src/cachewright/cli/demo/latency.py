"""Latency of client requests in each phase. Pure."""

from array import array
from collections.abc import Iterable, Sequence
from enum import IntEnum

import msgspec

_LONG_MS = 10.0


class Target(IntEnum):
    """Kind of a request: a read or a write of the cluster, or a read of the control node, which does not scale."""

    READ = 0
    WRITE = 1
    CONTROL = 2


class Sample(msgspec.Struct, frozen=True, gc=False):
    """One request. Times are of the monotonic clock, which all processes of a host share.

    :ivar due: scheduled start.
    :ivar seconds: duration, from `due` if the worker was still waiting for an earlier reply, else from the send.
    :ivar late: seconds by which an idle worker sent after `due`: the client itself had to wait for a processor.
    """

    due: float
    seconds: float
    late: float
    target: Target


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """Latency of the cluster's requests due in one phase, and of those to the control node in the same phase.

    :ivar over_10_ms: share of the requests that took longer, 0 to 1.
    :ivar client_late_p99_ms: scheduling delay of the client itself.
    """

    operations: int
    p50_ms: float
    p99_ms: float
    longest_ms: float
    longest_read_ms: float
    longest_write_ms: float
    over_10_ms: float
    control_p99_ms: float
    control_longest_ms: float
    client_late_p99_ms: float


def packed(samples: Iterable[Sample]) -> bytes:
    return array("d", [part for sample in samples for part in msgspec.structs.astuple(sample)]).tobytes()


def unpacked(raw: bytes) -> list[Sample]:
    numbers = array("d")
    numbers.frombytes(raw)
    rows = (numbers[at : at + 4] for at in range(0, len(numbers), 4))
    return [Sample(due, seconds, late, Target(int(target))) for due, seconds, late, target in rows]


def of_phase(samples: Iterable[Sample], begin: float, end: float) -> Latency:
    """Latency of the requests due from `begin` to `end`."""
    within = [sample for sample in samples if begin <= sample.due < end]
    reads, writes, control = (
        sorted(sample.seconds * 1000 for sample in within if sample.target is target) for target in Target
    )
    both = sorted(reads + writes)
    return Latency(
        operations=len(both),
        p50_ms=percentile(both, 0.50),
        p99_ms=percentile(both, 0.99),
        longest_ms=percentile(both, 1),
        longest_read_ms=percentile(reads, 1),
        longest_write_ms=percentile(writes, 1),
        over_10_ms=sum(took > _LONG_MS for took in both) / max(len(both), 1),
        control_p99_ms=percentile(control, 0.99),
        control_longest_ms=percentile(control, 1),
        client_late_p99_ms=percentile(sorted(sample.late * 1000 for sample in within), 0.99),
    )


def percentile(ordered: Sequence[float], share: float) -> float:
    """Smallest value that `share` of all values do not exceed; 0 without values."""
    if not ordered:
        return 0.0
    rank = -int(-share * len(ordered) // 1)  # rounded up
    return ordered[max(rank, 1) - 1]
