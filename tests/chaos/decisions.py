"""Decisions by a seed, and the list of what happened."""

import random
import time


class Decisions:
    """:ivar events: what was noted, with the seconds since the begin."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.events: list[str] = []
        self._begun = time.monotonic()

    def note(self, event: str) -> None:
        self.events.append(f"{time.monotonic() - self._begun:7.2f} s  {event}")

    def pause(self, longest: float) -> None:
        time.sleep(self.random.uniform(0, longest))
