"""What the demo and its traffic process say to each other: one JSON line each, over standard input and output."""

import msgspec

from cachewright.cli.demo.content import DataSet
from cachewright.cli.demo.owners import Seed
from cachewright.cli.demo.workload import Kept


class TrafficSpec(msgspec.Struct, frozen=True, kw_only=True):
    """The first line that the process reads. The password comes this way: a command line is for all to see."""

    seed: Seed
    data: DataSet
    operations_per_second: int
    workers: int


class Stop(msgspec.Struct, frozen=True, kw_only=True):
    """The second line: end the traffic, read back what was acknowledged, say the outcome. `seed` is a node that is
    there now; the first one may have left the cluster."""

    seed: Seed


class Pulse(msgspec.Struct, frozen=True, kw_only=True, tag="pulse"):
    """Twice a second: totals so far, and the longest operation since the last pulse."""

    operations: int
    errors: int
    longest_ms: float


class Trouble(msgspec.Struct, frozen=True, kw_only=True):
    """One operation that did not end well. `kind` is the class of its error."""

    at: float
    kind: str
    message: str


class Outcome(msgspec.Struct, frozen=True, kw_only=True, tag="outcome"):
    """The last line. `samples` is what `latency.packed` makes; the first troubles are told, all are counted."""

    operations: int
    errors: int
    wrong_answers: int
    troubles: tuple[Trouble, ...]
    kept: Kept
    samples: bytes


Line = Pulse | Outcome
