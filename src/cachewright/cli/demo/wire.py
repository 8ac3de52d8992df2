"""Messages between the demo and its traffic process: lines of JSON on standard input and output."""

import msgspec

from cachewright.cli.demo.content import DataSet
from cachewright.cli.demo.slot_client import Seed
from cachewright.cli.demo.workload import ReadBack


class TrafficSpec(msgspec.Struct, frozen=True, kw_only=True):
    """First message to the process. It holds passwords, because all users of the host can see arguments.

    :ivar control: a node that does not take part in the scaling; every third request goes to it in addition.
    """

    seed: Seed
    control: Seed
    data: DataSet
    operations_per_second: int
    workers: int


class Stop(msgspec.Struct, frozen=True, kw_only=True):
    """Second message: stop the traffic, read back acknowledged writes and send the outcome. `seed` is a node of the
    present cluster; the first one may have left it."""

    seed: Seed


class TrafficUpdate(msgspec.Struct, frozen=True, kw_only=True, tag="update"):
    """Sent twice a second: totals, and the longest operation since the last update."""

    operations: int
    errors: int
    longest_ms: float


class FailedOperation(msgspec.Struct, frozen=True, kw_only=True):
    """One failed operation. `kind` is the first word of an error reply, or the class of another error."""

    at: float
    kind: str
    message: str


class Outcome(msgspec.Struct, frozen=True, kw_only=True, tag="outcome"):
    """Last message. `samples` is the result of `latency.packed`; `failures` lists the first failures."""

    operations: int
    errors: int
    wrong_answers: int
    failures: tuple[FailedOperation, ...]
    read_back: ReadBack
    samples: bytes


Line = TrafficUpdate | Outcome
