"""The error of a slot migration."""

from collections.abc import Sequence

from cachewright.errors import CachewrightError


class MigrationFailed(CachewrightError):
    """The source still owns the range, or part of it. `reasons` come from the logs of source and target."""

    def __init__(self, reasons: Sequence[str]) -> None:
        super().__init__("; ".join(reasons) or "no reason given")
        self.reasons = reasons
