"""When an instance is backed up by itself, and how long these backups are kept. Pure; times are epoch milliseconds."""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, Literal

import msgspec

ATTRIBUTE = "backup_policy"
"""Name of the attribute of an instance that stores its policy."""

DAY_MS = 24 * 3600 * 1000
MOST_ATTEMPTS = 3
RETRY_MS = 10 * 60 * 1000
"""Pause after a failed backup by schedule before the next attempt."""

_OFFSET = re.compile(r"([+-])(0[0-9]|1[0-2])([0-5][0-9])")
_PERIOD = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])-([01][0-9]|2[0-4]):([0-5][0-9])")


class BackupPlan(msgspec.Struct, frozen=True, kw_only=True):
    """Days and time of the backups.

    :ivar backup_at: days of the week, 1 for Monday to 7 for Sunday.
    :ivar begin_at: `02:00-03:00`: a backup begins at the first time.
    :ivar timezone_offset: of that time, such as `+0800`; empty for UTC.
    """

    backup_at: tuple[int, ...]
    begin_at: str
    period_type: str = "weekly"
    timezone_offset: str = ""


class BackupPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """The policy of an instance.

    :ivar backup_type: `auto` to back it up by the plan.
    :ivar save_days: days for which these backups are kept.
    """

    id: str
    backup_type: Literal["auto", "manual"]
    save_days: int = 0
    plan: BackupPlan | None = None
    created_at: int
    updated_at: int


def policy_of(attributes: Mapping[str, Any]) -> BackupPolicy | None:
    """Return the policy of an instance with these attributes."""
    stored = attributes.get(ATTRIBUTE)
    return msgspec.convert(stored, BackupPolicy) if stored else None


def zone_of(offset: str) -> timezone | None:
    """Return the time zone of an offset from -1200 to +1200. None if it is none."""
    if not offset:
        return UTC
    found = _OFFSET.fullmatch(offset)
    if found is None:
        return None
    away = timedelta(hours=int(found[2]), minutes=int(found[3]))
    return None if away > timedelta(hours=12) else timezone(away if found[1] == "+" else -away)


def begin_of(period: str) -> timedelta | None:
    """Return the time of the day at which a period such as `02:00-03:00` begins. None if it is none."""
    found = _PERIOD.fullmatch(period)
    return timedelta(hours=int(found[1]), minutes=int(found[2])) if found else None


def latest_begin(plan: BackupPlan, now: int) -> int | None:
    """Return when a backup should have begun last, at `now` at the latest. None if the plan has no day."""
    zone, begin = zone_of(plan.timezone_offset) or UTC, begin_of(plan.begin_at) or timedelta()
    local = datetime.fromtimestamp(now / 1000, zone)
    midnight = local.replace(hour=0, minute=0, second=0, microsecond=0)
    for days in range(8):
        day = midnight - timedelta(days=days)
        moment = day + begin
        if day.isoweekday() in plan.backup_at and moment <= local:
            return int(moment.timestamp() * 1000)
    return None


def longest_pause(policy: BackupPolicy | None) -> int:
    """Return the longest time between two backups by the policy; 0 if it makes none."""
    if policy is None or policy.plan is None or not policy.plan.backup_at:
        return 0
    days = policy.plan.backup_at
    return (
        max((following - day - 1) % 7 + 1 for day, following in zip(days, (*days[1:], days[0]), strict=True)) * DAY_MS
    )


class Attempt(msgspec.Struct, frozen=True):
    """A backup by schedule that was requested. `failed_at` is when it failed by itself; a cancelled one has not."""

    created_at: int
    failed_at: int | None = None


def is_due(policy: BackupPolicy | None, attempts: Sequence[Attempt], now: int) -> bool:
    """Whether a backup should start: a time of the plan has passed since the policy was set, and no backup was
    requested by schedule since that time. A time that passed while no server ran is made up for once. After a failure
    there are a few more attempts. What a clock that was ahead has left does not count."""
    if policy is None or policy.backup_type != "auto" or policy.plan is None:
        return False
    begin = latest_begin(policy.plan, now)
    if begin is None or begin < policy.updated_at <= now:
        return False
    since = [attempt for attempt in attempts if begin <= attempt.created_at <= now]
    if len(since) >= MOST_ATTEMPTS:
        return False
    return all(one.failed_at is not None and now - one.failed_at >= RETRY_MS for one in since)
