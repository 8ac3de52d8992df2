"""Warnings in the logs of nodes about slot migrations that may have lost writes. Pure.

A source that grants a handover pauses writes until the target announces that it owns the slots. If the target does not
announce it in time, the source serves writes again. If the target takes the slots afterwards, these writes are lost.

Source: log lines of Valkey 9.1 at level warning, as observed.
"""

import re
from collections.abc import Iterable
from datetime import datetime

import msgspec

from cachewright.valkey.slots import SlotRange

_RISKS = ("Write loss risk!", "migration may have succeeded with lost writes")
_LINE = re.compile(
    r"^\d+:\w (?P<at>\d{1,2} \w{3} \d{4} \d\d:\d\d:\d\d\.\d{3}) . (?P<text>.*\{name: (?P<job>[0-9a-f]{40}),"
    r".*?target_node_id: (?P<target>[0-9a-f]{40}), slots: (?P<slots>[\d\-, ]+)\}.*)$"
)
_RANGE = re.compile(r"(\d+)(?:-(\d+))?")


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


def write_loss_warnings(lines: Iterable[str]) -> list[WriteLossWarning]:
    """Return one warning for each job that the lines warn about, in their order."""
    found: dict[str, WriteLossWarning] = {}
    for line in lines:
        if any(risk in line for risk in _RISKS) and (match := _LINE.match(line)):
            warning = WriteLossWarning(
                job=match["job"],
                at=_milliseconds(match["at"]),
                target=match["target"],
                slots=tuple(
                    SlotRange(int(part[1]), int(part[2] or part[1])) for part in _RANGE.finditer(match["slots"])
                ),
            )
            found.setdefault(warning.job, warning)
    return list(found.values())


def _milliseconds(local: str) -> int:
    # A naive time is local time, as the node's log is.
    return int(datetime.strptime(local, "%d %b %Y %H:%M:%S.%f").timestamp() * 1000)  # noqa: DTZ007
