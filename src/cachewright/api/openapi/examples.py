"""Examples for the description of the API: responses as structs, request bodies as JSON values."""

from collections.abc import Mapping
from typing import Any

import msgspec

from cachewright import errors
from cachewright.api.responses import ErrorBody, IamError, IamErrorBody
from cachewright.api.schemas import configurations, identity, instances, plans, quota, tasks
from cachewright.errors import ApiError

_TASK = "8abfa7b27da0c57c017da7b2f1420001"
_INSTANCE = "5560df16-cebf-4473-95c4-d1b573c16e79"
_NODE = "1a63d8d6c3f4f6c1c1b1e9c4a8f1c0d2b7a95e10"

_SMALL, _LARGE = "redis.cluster.xu1.large.r1.s1.3", "redis.cluster.xu1.large.r1.s1.5"
_PARAMETER = {"param_id": "2", "param_name": "maxmemory-policy", "param_value": "allkeys-lru"}

_SOURCE = {"addrs": "10.0.0.7:6379", "password": "Example-password-2"}

BODIES: Mapping[str, Any] = {
    "CreateInstance": {
        "name": "cache",
        "engine": "Redis",
        "engine_version": "7.0",
        "capacity": 3,
        "spec_code": _SMALL,
        "az_codes": ["local"],
        "vpc_id": "local",
        "subnet_id": "local",
        "password": "Example-password-1",
    },
    "RestoreInstance": {"backup_id": _INSTANCE, "remark": "before the release"},
    "UpdateInstance": {"name": "cache-of-the-shop", "description": "sessions and baskets"},
    "BatchDeleteInstances": {"instances": [_INSTANCE]},
    "RestartOrFlushInstances": {"instances": [_INSTANCE], "action": "restart"},
    "UpdateSlavePriority": {"slave_priority_weight": 1},
    "UpgradeInstanceMinorVersion": {"engine_minor_version": "latest"},
    "ChangeNodesStartStopStatus": {"action": "stop", "node_ids": [_NODE]},
    "ResizeInstance": {"spec_code": _LARGE, "new_capacity": 5},
    "PlanResize": {"spec_code": _LARGE},
    "UpdateWriteLog": {"keep_hours": 24},
    "CopyInstance": {"remark": "before the sale", "backup_format": "rdb"},
    "ListBackupFileLinks": {"expiration": 3600},
    "UpdateConfigurations": {"redis_config": [_PARAMETER]},
    "UpdateInstanceConfig": {"redis_config": [_PARAMETER]},
    "CreateCustomTemplate": {
        "name": "sessions",
        "template_id": "redis-7.0-cluster",
        "type": "sys",
        "params": {"maxmemory-policy": "allkeys-lru"},
    },
    "CreateMigrationTask": {
        "task_name": "move",
        "migration_type": "online_migration",
        "migration_method": "incremental_migration",
        "network_type": "vpc",
        "source_instance": _SOURCE,
        "target_instance": {"id": _INSTANCE},
    },
    "CreateOnlineMigrationTask": {
        "name": "move",
        "vpc_id": "local",
        "subnet_id": "local",
        "security_group_id": "local",
    },
    "SetOnlineMigrationTask": {
        "migration_method": "incremental_migration",
        "resume_mode": "auto",
        "bandwidth_limit_mb": "50",
        "source_instance": _SOURCE,
        "target_instance": {"id": _INSTANCE},
    },
    "BatchStopMigrationTasks": {"migration_tasks": [_TASK]},
    "BatchRestartOnlineMigrationTasks": {"migration_tasks": [_TASK]},
    "UpdateMigrationTask": {"resume_mode": "manual"},
    "DeleteMigrationTask": {"task_id_list": [_TASK]},
    "UpdateConfigTemplate": {"params": {"timeout": "300"}},
    "ScanClients": {"node_id": _NODE},
    "HangUpClients": {"node_id": _NODE, "client_addrs": ["10.0.0.7:51334"]},
    "HangUpKillAllClients": {"node_id": _NODE, "kill_all_nodes": False},
    "UpdateBigkeyAutoscanConfig": {"enable_auto_scan": True, "schedule_at": ["03:00"]},
    "UpdateHotkeyAutoScanConfig": {"enable_auto_scan": False, "schedule_at": []},
    "UpdateExpireAutoScanConfig": {
        "enable_auto_scan": True,
        "first_scan_at": "2027-07-07T15:00:05.000Z",
        "interval": 86400,
        "timeout": 3600,
        "scan_keys_count": 100,
    },
    "UpdateInstanceBandwidthAutoScalingPolicy": {"window_size": 5, "bandwidth_usage_upper_threshold": 80},
    "UpdateSslSwitch": {"enabled": False},
    "UpdateClientIpTransparentTransmission": {"transparent_client_ip_enable": False},
    "MigrateAz": {"new_available_zones": ["local"]},
    "StartInstanceResizeCheckJob": {"spec_code": _LARGE, "new_capacity": 5},
    "ControlTask": {"state": "running", "parallel": 1, "latency_ceiling_ms": 5, "mode": "balanced"},
    "UpdateIpWhitelist": {"enable_whitelist": False, "whitelist": [{"group_name": "shop", "ip_list": ["10.0.0.0/24"]}]},
    "UpdateIpWhitelistAsync": {"enable_whitelist": False, "whitelist": []},
    "UpdatePassword": {"old_password": "Example-password-1", "new_password": "Example-password-2"},
    "ResetPassword": {"new_password": "Example-password-2", "no_password_access": False},
    "CreateAclAccount": {
        "account_name": "reader",
        "account_role": "read",
        "account_password": "Example-password-3",
        "description": "reports",
    },
    "UpdateAclAccountRemark": {"description": "reports"},
    "UpdateAclAccount": {"account_role": "write"},
    "UpdateAclAccountPassWord": {"old_password": "Example-password-3", "new_password": "Example-password-4"},
    "ResetAclAccountPassWord": {"new_password": "Example-password-4"},
    "BatchCreateOrDeleteTags": {"action": "create", "tags": [{"key": "team", "value": "shop"}]},
    "DeleteCenterTask": {},
    "CreateWebhook": {"url": "https://example.com/hook", "events": ["io.cachewright.task.failed"]},
    "CreateToken": {
        "auth": {
            "identity": {
                "methods": ["password"],
                "password": {
                    "user": {"name": "alice", "password": "Example-password-1", "domain": {"name": identity.ACCOUNT}}
                },
            },
            "scope": {"project": {"name": "local"}},
        }
    },
}
"""Examples of request bodies by operation, one for each operation with a body. A test parses them like the server."""

_STEP = tasks.StepDetail(
    step_id="0f0d6b1e-8a4c-5f3b-9d8e-3a6c1b2d4e5f",
    step_name="Data migration.",
    step_status="EXECUTING",
    begin_time="2026-08-21T12:00:01.250Z",
    end_time=None,
    error_code=None,
    sub_step_details=[
        tasks.SubStepDetail(
            sub_step_id="7c9e6679-7425-50de-944b-e07fc1f90ae7",
            sub_step_name="Slot migration. Slots 0-2184",
            sub_step_status="EXECUTING",
            begin_time="2026-08-21T12:00:01.250Z",
            end_time=None,
            detail=f"{{node_id:{_NODE},slot_range:[0 2184],full_migration:in progress,inc_migration:to start,"
            "keys:41200/99870,bytes:9136400}",
            error_code=None,
        )
    ],
)
_RESIZE = tasks.TaskItem(
    id=_TASK,
    name="EXTEND",
    details=tasks.TaskDetails(
        old_capacity="3",
        new_capacity="5",
        old_resource_spec_code=_SMALL,
        new_resource_spec_code=_LARGE,
        old_cache_mode="cluster",
        new_cache_mode="cluster",
        old_replica_num=1,
        new_replica_num=1,
    ),
    user_name="admin",
    user_id="3d3c8a4f0b6f4f0e9a1b2c3d4e5f6071",
    params='{"spec_code":"redis.cluster.xu1.large.r1.s1.5","new_capacity":"5"}',
    status="EXECUTING",
    created_at="2026-08-21T12:00:00.503Z",
    updated_at=None,
    error_code=None,
    enable_show=True,
    job_id=_TASK,
)
_SHAPES: Mapping[str, msgspec.Struct] = {
    "ListBackgroundTask": tasks.TaskList("1", [_RESIZE]),
    "ListCenterTask": tasks.TaskList("1", [_RESIZE]),
    "CreateInstance": instances.CreatedList([instances.Created(_INSTANCE, "cache")]),
    "ShowBackgroundTaskProgress": tasks.Progress(42, 7, [_STEP]),
    "DeleteBackgroundTask": tasks.Deleted(),
    "ShowQuotaOfTenant": quota.Quotas(
        quota.Resources(
            [
                quota.Resource(type="instance", max=100, quota=100, used=2),
                quota.Resource(type="node", max=1000, quota=1000, used=9),
                quota.Resource(type="ram", unit="GB", max=48, quota=48, used=9),
                quota.Resource(type="backup", unit="GB", max=500, quota=500, used=12),
            ]
        )
    ),
    "DeleteCenterTask": tasks.Deleted(),
    "StartInstanceResizeCheckJob": plans.JobId(_TASK),
    "UpdateInstanceConfig": plans.JobId(_TASK),
    "ChangeMasterStandbyAsync": plans.JobId(_TASK),
    "ExecuteClusterSwitchover": plans.JobId(_TASK),
    "RebuildNode": plans.JobId(_TASK),
    "HangUpKillAllClients": plans.JobId(_TASK),
    "ListConfigHistories": configurations.HistoryList(
        1,
        [configurations.HistoryItem(history_id=_TASK, created_at="2026-08-21T12:00:00.503Z", status="SUCCESS")],
    ),
    "ShowConfigHistoryDetail": configurations.HistoryDetail(
        history_id=_TASK,
        created_at="2026-08-21T12:00:00.503Z",
        status="SUCCESS",
        user_name="admin",
        error_code=None,
        message="",
        redis_config=[
            configurations.HistoryChange(
                param_id="2", param_name="maxmemory-policy", old_value="noeviction", new_value="allkeys-lru"
            )
        ],
    ),
    "ShowJobInfo": plans.JobInfo(
        job_id=_TASK,
        job_type="EXTEND",
        status="SUCCESS",
        begin_time="1787313600000",
        end_time="1787313612500",
        fail_reason=None,
    ),
}
ANSWERS: Mapping[str, Any] = {name: msgspec.to_builtins(shape) for name, shape in _SHAPES.items()}
IAM_REFUSAL: Mapping[str, Any] = msgspec.to_builtins(
    IamErrorBody(IamError(401, ApiError(errors.INVALID_CREDENTIALS).message, "Unauthorized"))
)
REFUSAL: Mapping[str, Any] = msgspec.to_builtins(
    ErrorBody(errors.INSTANCE_NOT_FOUND, ApiError(errors.INSTANCE_NOT_FOUND).message)
)
