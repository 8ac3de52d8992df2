"""The sub-steps of tasks that ran at a given time. Pure."""

from collections.abc import Iterator, Sequence

import msgspec

from bench.client_libraries.messages import ClientReport
from cachewright.client.progress import Progress


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """A task that has ended."""

    name: str
    progress: Progress


def moment(at: float, changes: Sequence[Change]) -> str:
    """Name the sub-steps that ran at `at`, epoch seconds, or the sub-step that ended last before."""
    if running := [
        f"{name}, {at - begin:.3f} s after its begin" for name, begin, end in _spans(changes) if begin <= at < end
    ]:
        return "; ".join(running)
    if ended := max(((end, name) for name, _, end in _spans(changes) if end <= at), default=None):
        return f"{at - ended[0]:.3f} s after the end of {ended[1]}"
    return "before the first change"


def described(report: ClientReport, changes: Sequence[Change]) -> list[str]:
    """Every error and every lost write of a library, each with its moment."""
    errors = [
        f"{report.library}: {error.command}: {error.kind}: {error.message} "
        f"(after {error.at - error.begun:.3f} s; {moment(error.at, changes)})"
        for error in report.errors
    ]
    return errors + [f"{report.library}: {lost}" for lost in report.lost]


def _spans(changes: Sequence[Change]) -> Iterator[tuple[str, float, float]]:
    for change in changes:
        for sub_step in change.progress.sub_steps():
            if sub_step.begin and sub_step.end:
                yield f"{change.name}: {sub_step.name}", sub_step.begin.timestamp(), sub_step.end.timestamp()
