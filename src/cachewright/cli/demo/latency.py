"""How long client operations took, phase by phase. Pure."""

from array import array
from collections.abc import Sequence

import msgspec


class Sample(msgspec.Struct, frozen=True, gc=False):
    """One operation. Times are of the monotonic clock, which all processes of a machine share.

    `due` is when the schedule wanted it; `seconds` runs from there if the client was still busy with earlier
    operations, else from when it was sent; `late` is how much later than due an idle client woke up.
    """

    due: float
    seconds: float
    late: float


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """Of the operations due in one phase. `client_late_p99_ms` is the machine's own jitter, not part of the others."""

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
    """Of the operations that were due from `begin` to `end`."""
    within = [sample for sample in samples if begin <= sample.due < end]
    took = sorted(sample.seconds * 1000 for sample in within)
    late = sorted(sample.late * 1000 for sample in within)
    return Latency(
        operations=len(within),
        p50_ms=percentile(took, 0.50),
        p99_ms=percentile(took, 0.99),
        longest_ms=took[-1] if took else 0.0,
        client_late_p99_ms=percentile(late, 0.99),
    )


def percentile(ordered: Sequence[float], share: float) -> float:
    """The smallest value that `share` of all do not exceed; 0 where there are none."""
    if not ordered:
        return 0.0
    rank = -int(-share * len(ordered) // 1)  # rounded up
    return ordered[max(rank, 1) - 1]
