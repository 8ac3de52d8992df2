"""Warnings about slot migrations that may have lost writes, in logs and in the jobs of nodes. Pure.

A source that grants a handover pauses writes until the target announces that it owns the slots. If the target does not
announce it in time, the source serves writes again. If the target takes the slots afterwards, these writes are lost.

Clients can write lines of any form into the log of their node (`server.log` in a script), but not change its jobs. So a
line only counts if the job that it names has ended with the same warning.

Source: log lines of Valkey 9.1 at level warning, as observed.
"""

import re
from collections.abc import Iterable
from datetime import datetime

import msgspec

from cachewright.valkey.migration.jobs import Job
from cachewright.valkey.slots import SlotRange

_REASON = "migration may have succeeded with lost writes"
"""Part of the message of a job that has ended in this way."""

_RISKS = ("Write loss risk!", _REASON)
_LINE = re.compile(
    r"^\d+:\w (?P<at>\d{1,2} \w{3} \d{4} \d\d:\d\d:\d\d\.\d{3}) . (?P<text>.*\{name: (?P<job>[0-9a-f]{40}),"
    r".*?target_node_id: (?P<target>[0-9a-f]{40}), slots: (?P<slots>[\d\-, ]+)\}.*)$"
)
_RANGE = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?")
_LONGEST = 2048
"""Nodes cut their own lines to about half of this. Longer lines, which only clients can write, take long to parse."""


class WriteLossWarning(msgspec.Struct, frozen=True, kw_only=True):
    """A migration job whose source has logged that writes may be lost.

    :ivar at: time of the log line, epoch milliseconds. The node logs local time.
    :ivar target: id of the node that may own the slots now.
    """

    job: str
    at: int
    target: str
    slots: tuple[SlotRange, ...]

    def described(self, source_id: str) -> str:
        listed = ", ".join(f"{part.first}-{part.last}" for part in self.slots)
        late = f"node {self.target} did not announce in time that it owns them"
        return f"node {source_id} may have lost writes to slots {listed}: {late}"


def write_loss_warnings(lines: Iterable[str], now: int) -> list[WriteLossWarning]:
    """Return one warning for each job that the lines warn about, in their order. Lines without a valid date, or from
    the future, are no warnings.

    :param now: epoch milliseconds.
    """
    found: dict[str, WriteLossWarning] = {}
    for line in lines:
        if len(line) <= _LONGEST and any(risk in line for risk in _RISKS) and (match := _LINE.match(line)):
            at = _milliseconds(match["at"])
            if at is None or at > now:
                continue
            warning = WriteLossWarning(
                job=match["job"],
                at=at,
                target=match["target"],
                slots=tuple(
                    SlotRange(int(part[1]), int(part[2] or part[1])) for part in _RANGE.finditer(match["slots"])
                ),
            )
            found.setdefault(warning.job, warning)
    return list(found.values())


def confirmed(warnings: Iterable[WriteLossWarning], jobs: Iterable[Job]) -> list[WriteLossWarning]:
    """Return the warnings about jobs that have ended with the same warning, with the slots and target of the job.

    :param jobs: jobs of the node with the log.
    """
    at_risk = {job.name: job for job in jobs if job.operation == "EXPORT" and _REASON in job.message}
    return [
        msgspec.structs.replace(
            warning,
            target=at_risk[warning.job].target_node or warning.target,
            slots=tuple(at_risk[warning.job].ranges) or warning.slots,
        )
        for warning in warnings
        if warning.job in at_risk
    ]


def _milliseconds(local: str) -> int | None:
    try:
        # A naive time is local time, as the node's log is.
        return int(datetime.strptime(local, "%d %b %Y %H:%M:%S.%f").timestamp() * 1000)  # noqa: DTZ007
    except (ValueError, OverflowError, OSError):
        return None
