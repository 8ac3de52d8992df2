"""Latency of client operations in each phase. Pure."""

from array import array
from collections.abc import Sequence

import msgspec


class Sample(msgspec.Struct, frozen=True, gc=False):
    """One operation. Times are of the monotonic clock, which all processes of a host share.

    :ivar due: scheduled start.
    :ivar seconds: duration, from `due` if the client was still busy with earlier operations, else from the send.
    :ivar late: seconds by which an idle client woke up after `due`.
    """

    due: float
    seconds: float
    late: float


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """Latency of the operations due in one phase. `client_late_p99_ms` is the scheduling delay of the client itself."""

    operations: int
    p50_ms: float
    p99_ms: float
    longest_ms: float
    client_late_p99_ms: float


def packed(samples: Sequence[Sample]) -> bytes:
    return array("d", [part for sample in samples for part in (sample.due, sample.seconds, sample.late)]).tobytes()


def unpacked(raw: bytes) -> list[Sample]:
    numbers = array("d")
    numbers.frombytes(raw)
    return [Sample(*numbers[at : at + 3]) for at in range(0, len(numbers), 3)]


def of_phase(samples: Sequence[Sample], begin: float, end: float) -> Latency:
    """Latency of the operations due from `begin` to `end`."""
    within = [sample for sample in samples if begin <= sample.due < end]
    durations = sorted(sample.seconds * 1000 for sample in within)
    late = sorted(sample.late * 1000 for sample in within)
    return Latency(
        operations=len(within),
        p50_ms=percentile(durations, 0.50),
        p99_ms=percentile(durations, 0.99),
        longest_ms=durations[-1] if durations else 0.0,
        client_late_p99_ms=percentile(late, 0.99),
    )


def percentile(ordered: Sequence[float], share: float) -> float:
    """Smallest value that `share` of all values do not exceed; 0 without values."""
    if not ordered:
        return 0.0
    rank = -int(-share * len(ordered) // 1)  # rounded up
    return ordered[max(rank, 1) - 1]
