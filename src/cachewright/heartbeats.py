"""When each of the server's loops last came round: one that hangs shows."""

import time
from collections.abc import Mapping


class LoopHeartbeats:
    def __init__(self) -> None:
        self._last: dict[str, float] = {}

    def beat(self, loop: str) -> None:
        self._last[loop] = time.time()

    def last(self) -> Mapping[str, float]:
        """Seconds since the epoch, by loop."""
        return dict(self._last)
