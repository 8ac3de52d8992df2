"""Shapes of write logs, an extension."""

from typing import Annotated

import msgspec

from cachewright.api.schemas import rfc3339
from cachewright.model.write_logs import MOST_HOURS
from cachewright.services.write_logs import WriteLogState


class WriteLogBody(msgspec.Struct, frozen=True):
    """`keep_hours`: 0 for no write logs."""

    keep_hours: Annotated[int, msgspec.Meta(ge=0, le=MOST_HOURS)]


class ShownWindow(msgspec.Struct, frozen=True):
    """`first` and `last` are the first and the last second whose data can be backed up."""

    first: str
    last: str


class ShownLog(msgspec.Struct, frozen=True, kw_only=True):
    """`last` is null until the log can restore anything; `ended` is why the log does not grow any more."""

    shard: int
    node_id: str
    first: str
    last: str | None
    size: int
    ended: str | None


class ShownWriteLog(msgspec.Struct, frozen=True, kw_only=True):
    """`size` is the sum of the bytes of all logs in the storage."""

    keep_hours: int
    size: int
    windows: list[ShownWindow]
    logs: list[ShownLog]


def shown(state: WriteLogState) -> ShownWriteLog:
    return ShownWriteLog(
        keep_hours=state.keep_hours,
        size=sum(log.size for log in state.logs),
        windows=[ShownWindow(_second(one.first), _second(one.last)) for one in state.windows],
        logs=[
            ShownLog(
                shard=log.shard,
                node_id=log.node_id,
                first=_second(log.first),
                last=None if log.last is None else _second(log.last),
                size=log.size,
                ended=log.ended,
            )
            for log in state.logs
        ],
    )


def _second(second: int) -> str:
    return rfc3339(second * 1000)
