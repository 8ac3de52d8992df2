"""Whether a source has had no writes between two moments. Pure."""

import msgspec


class Activity(msgspec.Struct, frozen=True, kw_only=True):
    """What one primary of a source has done until a moment, as its gateway and itself count it.

    :ivar run: identity of the gateway's process, whose counters begin with it.
    :ivar writes: commands of the source that have changed data, without removals.
    :ivar removals: DEL, HDEL and UNLINK, also those by which the source tells that keys have expired.
    :ivar removed: keys and fields that have expired or were evicted, by the source's own count.
    """

    run: str
    writes: int
    removals: int
    removed: int


def is_quiet(before: Activity, after: Activity) -> bool:
    """Whether no client has written: what was removed are keys that have expired."""
    return (
        before.run == after.run
        and before.writes == after.writes
        and after.removals - before.removals <= after.removed - before.removed
    )
