"""Time of the latest round of each loop of the server, to detect loops that hang."""

import time
from collections.abc import Mapping


class LoopHeartbeats:
    def __init__(self) -> None:
        self._last: dict[str, float] = {}

    def beat(self, loop: str) -> None:
        self._last[loop] = time.time()

    def last(self) -> Mapping[str, float]:
        """Time of the latest round by loop, epoch seconds."""
        return dict(self._last)
