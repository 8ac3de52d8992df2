"""Tasks of the benchmark of remaining time: what is scaled, how, under which load, and what interrupts it. Pure."""

import re
from collections.abc import Mapping
from enum import StrEnum

import msgspec

from bench.content import Content
from bench.results import Effort
from cachewright.model.tasks import MigrationMode

_SHARDS = re.compile(r"(\d+) to (\d+)")


class Clients(StrEnum):
    NONE = "no clients"
    STEADY = "clients"
    CHANGING = "clients that come and go"
    HEAVY = "heavy writes"
    """20,000 writes a second of 4 KB into existing keys of the slots that move."""


class Cause(StrEnum):
    """What interrupts a task, once it shows 30 %."""

    PAUSE = "paused once"
    KILL = "server killed once"
    FREEZE = "a source frozen once"


class Series(msgspec.Struct, frozen=True, kw_only=True):
    """An instance that is scaled from one number of shards to the next.

    :ivar megabytes: amount of data, apart from a giant key.
    :ivar interrupted: what interrupts the task that begins at this position of `shards`.
    """

    content: Content
    megabytes: int
    shards: tuple[int, ...]
    mode: MigrationMode = "balanced"
    clients: Clients = Clients.NONE
    interrupted: Mapping[int, Cause] = msgspec.field(default_factory=dict)

    @property
    def shard_gb(self) -> int:
        """Memory for twice the data, and at least one gigabyte."""
        return max(-(-2 * self.megabytes // (1024 * min(self.shards))), 1)

    def name(self, position: int) -> str:
        before, after = self.shards[position : position + 2]
        words = [self.content, f"{self.megabytes:,} MB", f"{before} to {after}", self.mode, self.clients]
        if cause := self.interrupted.get(position):
            words.append(cause)
        return ", ".join(words)

    def kind(self, position: int) -> tuple[str, ...]:
        """What makes tasks the same kind, for which one of them teaches the plan of the next."""
        before, after = self.shards[position : position + 2]
        return self.content, _way(before, after), self.mode, self.clients


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """The properties that a task's name says, each with its values as the tables show them."""

    content: str
    way: str
    mode: str
    clients: str
    interruption: str


def kind_of(name: str) -> Kind:
    """The kind of a task by its name, as `Series.name` gives it."""
    content, _, shards, mode, clients, *interruption = name.split(", ")
    found = _SHARDS.fullmatch(shards)
    if found is None:
        raise ValueError(f"{name!r} is not the name of a task")
    return Kind(
        content=content,
        way=f"scale-{_way(int(found[1]), int(found[2]))}",
        mode=mode,
        clients=clients,
        interruption=interruption[0] if interruption else "not interrupted",
    )


def without_interruption(name: str) -> tuple[str, ...]:
    """The words of a task's name without what interrupts it."""
    return tuple(word for word in name.split(", ") if word not in set(Cause))


def _way(before: int, after: int) -> str:
    return "out" if after > before else "in"


_OUT_AND_IN = (3, 5, 3, 5, 3)
_DOUBLED = (2, 4, 2, 4, 2)
_FAR = (2, 5, 2, 5, 2)
_FROM_ONE = (1, 4, 1, 4, 1)

INSTALLATIONS: dict[Effort, tuple[tuple[Series, ...], ...]] = {
    "quick": (
        (
            Series(
                content=Content.SMALL,
                megabytes=40,
                shards=(3, 5, 3),
                mode="gentle",
                clients=Clients.STEADY,
                interrupted={0: Cause.PAUSE, 1: Cause.KILL},
            ),
            Series(content=Content.SMALL, megabytes=20, shards=(1, 2), clients=Clients.HEAVY),
        ),
    ),
    "full": (
        (
            Series(
                content=Content.SMALL,
                megabytes=1500,
                shards=_OUT_AND_IN,
                clients=Clients.STEADY,
                interrupted={2: Cause.PAUSE},
            ),
            Series(content=Content.SMALL, megabytes=2000, shards=_OUT_AND_IN),
            Series(content=Content.LARGE, megabytes=2000, shards=_OUT_AND_IN, clients=Clients.STEADY),
            Series(content=Content.MIXED, megabytes=2000, shards=_DOUBLED, clients=Clients.CHANGING),
            Series(content=Content.SMALL, megabytes=50, shards=(3, 5, 3), mode="gentle", clients=Clients.STEADY),
        ),
        (
            Series(content=Content.GIANT, megabytes=1500, shards=_OUT_AND_IN),
            Series(
                content=Content.SMALL,
                megabytes=1200,
                shards=(1, 2, 1, 2, 1),
                clients=Clients.STEADY,
                interrupted={2: Cause.FREEZE},
            ),
            Series(content=Content.SMALL, megabytes=2000, shards=_FAR, mode="fastest", clients=Clients.STEADY),
            Series(
                content=Content.MIXED,
                megabytes=1000,
                shards=_OUT_AND_IN,
                mode="gentle",
                clients=Clients.STEADY,
                interrupted={3: Cause.PAUSE},
            ),
            Series(content=Content.GIANT, megabytes=1000, shards=_OUT_AND_IN, clients=Clients.STEADY),
        ),
        (
            Series(content=Content.SMALL, megabytes=400, shards=_OUT_AND_IN, mode="gentle", clients=Clients.STEADY),
            Series(content=Content.SMALL, megabytes=1000, shards=_OUT_AND_IN, clients=Clients.HEAVY),
            Series(content=Content.LARGE, megabytes=2000, shards=_FROM_ONE, mode="fastest"),
            Series(
                content=Content.MIXED,
                megabytes=2000,
                shards=(3, 6, 4, 6, 3),
                clients=Clients.STEADY,
                interrupted={0: Cause.KILL},
            ),
            Series(content=Content.SMALL, megabytes=2000, shards=_OUT_AND_IN, clients=Clients.CHANGING),
            Series(content=Content.MIXED, megabytes=2000, shards=_FAR),
            Series(content=Content.SMALL, megabytes=1500, shards=(2, 3, 2), mode="gentle", clients=Clients.STEADY),
        ),
    ),
}
"""Series of tasks; those of one group run on one installation, which is fresh before the first."""
