"""The limit on the bandwidth of a migration. Pure."""

_MEGABYTE = 1_000_000
_BURST_SECONDS = 1.0


class Throttle:
    """Computes pauses from the bytes that the instance has received. Unused bandwidth is kept for a second."""

    def __init__(self, limit_mb: float) -> None:
        """:param limit_mb: megabytes per second."""
        self._per_second = limit_mb * _MEGABYTE
        self._left = self._per_second * _BURST_SECONDS
        self._last: tuple[float, int] | None = None

    def pause(self, now: float, received: int) -> float:
        """Return the seconds to wait before more is sent.

        :param now: seconds of any clock.
        :param received: counter of bytes. A smaller value than before is a new begin: a node has restarted.
        """
        before = self._last or (now, received)
        self._last = (now, received)
        earned = (now - before[0]) * self._per_second
        self._left = min(self._left + earned, self._per_second * _BURST_SECONDS) - max(received - before[1], 0)
        return max(-self._left / self._per_second, 0.0)
