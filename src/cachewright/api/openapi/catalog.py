"""All operations of the cloud's client: name, method, path. Responses to unsupported operations contain this name.

Source: huaweicloudsdkdcs 3.1.219. A test compares it with the client's class.
"""

from collections.abc import Mapping

import msgspec


class Operation(msgspec.Struct, frozen=True):
    name: str
    method: str
    path: str


_PROJECT = "/v2/{project_id}/"

_TABLE = """
# Background tasks, task centre, jobs
ListBackgroundTask GET instances/{instance_id}/tasks
ShowBackgroundTaskProgress GET instances/{instance_id}/tasks/{task_id}/progress
DeleteBackgroundTask DELETE instances/{instance_id}/tasks/{task_id}
ListCenterTask GET tasks
DeleteCenterTask DELETE tasks/{task_id}
ShowJobInfo GET jobs/{job_id}
StartInstanceResizeCheckJob POST instances/{instance_id}/resize/check-job
ExportInstancesTask POST instances/export
ExportExcelJob GET instances/export-job

# Instance lifecycle
CreateInstance POST instances
ListInstances GET instances
ShowInstance GET instances/{instance_id}
UpdateInstance PUT instances/{instance_id}
DeleteSingleInstance DELETE instances/{instance_id}
BatchDeleteInstances DELETE instances
ResizeInstance POST instances/{instance_id}/resize
CreateResizeOrder POST orders/instances/{instance_id}/resize
ListInstanceOperations GET instances/{instance_id}/operations
ValidateDeletableReplica GET instances/{instance_id}/deletable-replication
MigrateAz PUT instances/{instance_id}/available-zones
UpgradeInstanceMinorVersion POST instances/{instance_id}/minor-version/upgrade
ShowInstanceVersion GET instances/{instance_id}/version

# Instance management
RestartOrFlushInstances PUT instances/status
ChangeMasterStandby POST instances/{instance_id}/swap
ChangeMasterStandbyAsync PUT instances/{instance_id}/async-swap
ExecuteClusterSwitchover POST instance/{instance_id}/groups/{group_id}/replications/{node_id}/async-switchover
ChangeNodesStartStopStatus PUT instances/{instance_id}/nodes/status
UpdatePassword PUT instances/{instance_id}/password
ResetPassword POST instances/{instance_id}/password/reset
ListStatisticsOfRunningInstances GET instances/statistic
ListNumberOfInstancesInDifferentStatus GET instances/status
UpdateClientIpTransparentTransmission PUT {instance_id}/client-ip-transparent-transmission
ShowBandwidths GET instances/{instance_id}/bandwidths
UpdateBandwidth PUT instances/{instance_id}/bandwidths
UpdateInstanceBandwidth PUT instances/{instance_id}/bandwidth
ShowInstanceBandwidthAutoScalingPolicy GET instances/{instance_id}/autoscaling-policy/bandwidth
UpdateInstanceBandwidthAutoScalingPolicy PUT instances/{instance_id}/autoscaling-policy/bandwidth
DeleteInstanceBandwidthAutoScalingPolicy DELETE instances/{instance_id}/autoscaling-policy/bandwidth

# Shards, replicas, nodes, topology
ListGroupReplicationInfo GET instance/{instance_id}/groups
ShowReplicationStates GET instance/{instance_id}/groups/{group_id}/group-nodes-state
ShowNodesInformation GET instances/{instance_id}/logical-nodes
BatchShowNodesInformation GET instances-logical-nodes
ShowInstanceTopology GET instances/{instance_id}/nodes
UpdateSlavePriority POST instances/{instance_id}/groups/{group_id}/replications/{node_id}/slave-priority
DeleteIpFromDomainName DELETE instances/{instance_id}/groups/{group_id}/replications/{node_id}/remove-ip

# Parameters and templates
ListConfigurations GET instances/{instance_id}/configs
UpdateConfigurations PUT instances/{instance_id}/configs
UpdateInstanceConfig PUT instances/{instance_id}/async-configs
ListConfigHistories GET instances/{instance_id}/config-histories
ShowConfigHistoryDetail GET instances/{instance_id}/config-histories/{history_id}
ListConfigTemplates GET config-templates
ShowConfigTemplate GET config-templates/{template_id}
CreateCustomTemplate POST config-templates
UpdateConfigTemplate PUT config-templates/{template_id}
DeleteConfigTemplate DELETE config-templates/{template_id}

# Backup and restore
CopyInstance POST instances/{instance_id}/backups
ListBackupRecords GET instances/{instance_id}/backups
DeleteBackupFile DELETE instances/{instance_id}/backups/{backup_id}
ListBackupFileLinks POST instances/{instance_id}/backups/{backup_id}/links
RestoreInstance POST instances/{instance_id}/restores
ListRestoreRecords GET instances/{instance_id}/restores

# Network security
ShowIpWhitelist GET instance/{instance_id}/whitelist
UpdateIpWhitelist PUT instance/{instance_id}/whitelist
UpdateIpWhitelistAsync PUT instance/{instance_id}/whitelist-async
ShowInstanceSslDetail GET instances/{instance_id}/ssl
UpdateSslSwitch PUT instances/{instance_id}/ssl
DownloadSslCert POST instances/{instance_id}/ssl-certs/download
UpdatePublicIp POST instances/{instance_id}/public-ip
DeletePublicIp DELETE instances/{instance_id}/public-ip

# ACL accounts
ListAclAccounts GET instances/{instance_id}/accounts
CreateAclAccount POST instances/{instance_id}/accounts
DeleteAclAccount DELETE instances/{instance_id}/accounts/{account_id}
UpdateAclAccount PUT instances/{instance_id}/accounts/{account_id}/role
UpdateAclAccountRemark PUT instances/{instance_id}/accounts/{account_id}
UpdateAclAccountPassWord PUT instances/{instance_id}/accounts/{account_id}/password/modify
ResetAclAccountPassWord PUT instances/{instance_id}/accounts/{account_id}/password/reset

# Cache analysis
CreateAutoExpireScanTask POST instances/{instance_id}/scan-expire-keys-task
CreateBigkeyScanTask POST instances/{instance_id}/bigkey-task
CreateHotkeyScanTask POST instances/{instance_id}/hotkey-task
DeleteBigkeyScanTask DELETE instances/{instance_id}/bigkey-task/{bigkey_id}
DeleteHotkeyScanTask DELETE instances/{instance_id}/hotkey-task/{hotkey_id}
DownloadHotKey POST instances/{instance_id}/hotkey/{task_id}/export
ListBigkeyScanTasks GET instances/{instance_id}/bigkey-tasks
ListHotKeyScanTasks GET instances/{instance_id}/hotkey-tasks
ScanExpireKey POST instances/{instance_id}/auto-expire/scan
ShowBigkeyAutoscanConfig GET instances/{instance_id}/bigkey/autoscan
ShowBigkeyScanTaskDetails GET instances/{instance_id}/bigkey-task/{bigkey_id}
ShowExpireAutoScanConfig GET instances/{instance_id}/scan-expire-keys/autoscan-config
ShowExpireKeyScanInfo GET instances/{instance_id}/auto-expire/histories
ShowHotkeyAutoscanConfig GET instances/{instance_id}/hotkey/autoscan
ShowHotkeyTaskDetails GET instances/{instance_id}/hotkey-task/{hotkey_id}
UpdateBigkeyAutoscanConfig PUT instances/{instance_id}/bigkey/autoscan
UpdateExpireAutoScanConfig PUT instances/{instance_id}/scan-expire-keys/autoscan-config
UpdateHotkeyAutoScanConfig PUT instances/{instance_id}/hotkey/autoscan
CreateOfflineKeyAnalysis POST instances/{instance_id}/offline/key-analysis
DeleteOfflineKeyAnalysisTask DELETE instances/{instance_id}/offline/key-analysis/{task_id}
ListOfflineKeyAnalysisTask GET instances/{instance_id}/offline/key-analysis
ShowOfflineKeyAnalysisTask GET instances/{instance_id}/offline/key-analysis/{task_id}

# Data migration
BatchRestartOnlineMigrationTasks POST migration-tasks/batch-restart
BatchStopMigrationTasks POST migration-task/batch-stop
CreateMigrationTask POST migration-task
CreateOnlineMigrationTask POST migration/instance
DeleteMigrationTask DELETE migration-tasks/delete
ExchangeInstanceIp POST migration-task/{task_id}/exchange-ip
ListMigrationTask GET migration-tasks
ListMigrationTaskLogs GET migration-task/{task_id}/logs
RollbackExchangeInstanceIp POST migration-task/{task_id}/rollback-ip
SetOnlineMigrationTask POST migration/{task_id}/task
ShowMigrationTask GET migration-task/{task_id}
ShowMigrationTaskStats GET migration-task/{task_id}/stats
StopMigrationTask POST migration-task/{task_id}/stop
StopMigrationTaskSync POST migration-task/{task_id}/sync-stop
UpdateMigrationTask PUT migration-task/{task_id}

# Logs and diagnosis
ListSlowlog GET instances/{instance_id}/slowlog
ListRedislog GET instances/{instance_id}/redislog
CreateRedislog POST instances/{instance_id}/redislog
CreateRedislogDownloadLink POST instances/{instance_id}/redislog/{id}/links
CreateDiagnosisTask POST instances/{instance_id}/diagnosis
ListDiagnosisTasks GET instances/{instance_id}/diagnosis
ShowDiagnosisTaskDetails GET diagnosis/{report_id}
DeleteDiagnosisTask DELETE instances/{instance_id}/diagnosis

# Sessions and Web CLI
ScanClients POST instances/{instance_id}/clients
ListClients GET instances/{instance_id}/clients
HangUpClients POST instances/{instance_id}/clients/kill
HangUpKillAllClients POST instances/{instance_id}/clients/kill-all
LoginWebCli POST instances/{instance_id}/webcli/auth
LogoffWebCli POST instances/{instance_id}/webcli/logout
ExecuteCommandMobilization POST instances/{instance_id}/webcli/command

# Tags
BatchCreateOrDeleteTags POST dcs/{instance_id}/tags/action
ShowTags GET instances/{instance_id}/tags
ListTagsOfTenant GET dcs/tags

# Flavors, zones, quota, windows
ListFlavors GET flavors
ListAvailableZones GET /v2/available-zones
ShowQuotaOfTenant GET quota
ListMaintenanceWindows GET /v2/instances/maintain-windows
ListMonitoredObjects GET dims/monitored-objects
ListMonitoredObjectsOfInstance GET dims/monitored-objects/{instance_id}
"""
"""Families, each followed by its operations. Paths are below the project, unless they begin with a slash."""


def _families() -> Mapping[str, tuple[Operation, ...]]:
    families: dict[str, tuple[Operation, ...]] = {}
    for block in _TABLE.strip().split("\n\n"):
        title, *lines = block.splitlines()
        rows = [line.split() for line in lines]
        families[title.removeprefix("# ")] = tuple(
            Operation(name, method, path if path.startswith("/") else _PROJECT + path) for name, method, path in rows
        )
    return families


FAMILIES = _families()
OPERATIONS = {(operation.method, operation.path): operation for family in FAMILIES.values() for operation in family}
