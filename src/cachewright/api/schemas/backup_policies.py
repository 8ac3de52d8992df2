"""Shapes of `instance_backup_policy`. Types follow the SDK's models."""

import msgspec

from cachewright.api.schemas import iso
from cachewright.model.backup_policies import BackupPolicy


class PlanBody(msgspec.Struct, frozen=True):
    timezone_offset: str = ""
    backup_at: list[int] = []
    period_type: str = ""
    begin_at: str = ""


class PolicyBody(msgspec.Struct, frozen=True):
    backup_type: str = ""
    save_days: int = 0
    periodical_backup_plan: PlanBody = PlanBody()


class ShownPlan(msgspec.Struct, frozen=True):
    timezone_offset: str
    backup_at: tuple[int, ...]
    period_type: str
    begin_at: str


class ShownBackupPolicy(msgspec.Struct, frozen=True):
    backup_type: str
    save_days: int
    periodical_backup_plan: ShownPlan | None


class InstanceBackupPolicy(msgspec.Struct, frozen=True):
    backup_policy_id: str
    created_at: str | None
    updated_at: str | None
    tenant_id: str
    policy: ShownBackupPolicy


def shown_policy(policy: BackupPolicy | None, project_id: str) -> InstanceBackupPolicy | None:
    if policy is None:
        return None
    plan = policy.plan
    shown = ShownPlan(plan.timezone_offset, plan.backup_at, plan.period_type, plan.begin_at) if plan else None
    return InstanceBackupPolicy(
        backup_policy_id=policy.id,
        created_at=iso(policy.created_at),
        updated_at=iso(policy.updated_at),
        tenant_id=project_id,
        policy=ShownBackupPolicy(policy.backup_type, policy.save_days, shown),
    )
