"""Conversion of `instance_backup_policy` to the policy that is stored. Each rule has the cloud's error code."""

import uuid
from typing import Any

import msgspec

from cachewright import errors
from cachewright.api.requests import refused
from cachewright.api.schemas.backup_policies import PlanBody, PolicyBody
from cachewright.errors import ApiError
from cachewright.model.backup_policies import ATTRIBUTE, BackupPlan, BackupPolicy, begin_of, zone_of

_MOST_DAYS = 7
_FIELD = "instance_backup_policy"


def policy_attribute(body: PolicyBody | None, present: BackupPolicy | None, now: int) -> dict[str, Any]:
    """Return the attribute that stores the policy, nothing if the body has none. Raises ApiError with the code of the
    invalid member.

    :param present: the policy of the instance so far.
    """
    if body is None or body == PolicyBody():
        return {}
    if body.backup_type not in {"auto", "manual"}:
        raise ApiError(errors.INVALID_BACKUP_TYPE, reason="it is not auto or manual")
    is_auto = body.backup_type == "auto"
    if is_auto and not 1 <= body.save_days <= _MOST_DAYS:
        raise ApiError(errors.INVALID_SAVE_DAYS, reason=f"it is not from 1 to {_MOST_DAYS}")
    policy = BackupPolicy(
        id=present.id if present else str(uuid.uuid4()),
        backup_type="auto" if is_auto else "manual",
        save_days=body.save_days if is_auto else 0,
        plan=_plan(body.periodical_backup_plan) if is_auto else None,
        created_at=present.created_at if present else now,
        updated_at=now,
    )
    if present and msgspec.structs.replace(policy, updated_at=present.updated_at) == present:
        return {}  # terraform sends the same policy again with other changes
    return {ATTRIBUTE: msgspec.to_builtins(policy)}


def _plan(body: PlanBody) -> BackupPlan:
    if body.period_type not in {"", "weekly"}:
        raise ApiError(errors.INVALID_BACKUP_PERIOD, reason="it is not weekly")
    days = tuple(sorted(set(body.backup_at)))
    if not days or not all(1 <= day <= 7 for day in days):
        raise ApiError(errors.INVALID_BACKUP_DAYS, reason="it is not a list of days from 1 to 7")
    if begin_of(body.begin_at) is None:
        raise ApiError(errors.INVALID_BACKUP_TIME, reason="it is not a period such as 02:00-03:00")
    if zone_of(body.timezone_offset) is None:
        raise refused(f"{_FIELD}.periodical_backup_plan.timezone_offset", "it is not from -1200 to +1200")
    return BackupPlan(backup_at=days, begin_at=body.begin_at, timezone_offset=body.timezone_offset)
