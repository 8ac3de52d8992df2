"""Servers on one database, and which of them performed tasks when."""

from typing import Literal

import msgspec

TakeoverCause = Literal["first", "stopped", "restarted", "silent"]
"""Why a server has taken the claim to perform tasks: no server had it before; its holder was stopped and released it;
its holder ended otherwise and was started again; its holder did not renew it."""


class ServerRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A process `cachewright serve`. Times are those of the database, in epoch milliseconds.

    :ivar id: identifies the data directory.
    :ivar listen: address and port of the API.
    :ivar seen_at: its latest report.
    :ivar epoch: of its claim to perform tasks; None if it has never had it.
    """

    id: str
    machine: str
    pid: int
    release: str
    listen: str
    started_at: int
    seen_at: int
    epoch: int | None = None


class Takeover(msgspec.Struct, frozen=True, kw_only=True):
    """A time in which one server performed tasks.

    :ivar ended_at: when it was stopped, or its latest report; None for the present holder.
    """

    epoch: int
    server_id: str
    machine: str
    pid: int
    cause: TakeoverCause
    began_at: int
    ended_at: int | None = None
