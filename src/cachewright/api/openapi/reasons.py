"""Why operations of the cloud are not served, for `docs/coverage.md`."""

from collections.abc import Mapping

_REPORT = "a report about a past period needs counters of each node from that time, which are not kept"
_WEB_CLI = "the cloud's own client in a browser; use valkey-cli, which needs the address and the password alone"
_BANDWIDTH = "bandwidth has no limit that could be shown or changed; measured traffic is in GET .../statistics"
_ADDRESSES = "instances and sources have addresses of their own, which are not exchanged; clients get the new address"
_OFFLINE = "CreateBigkeyScanTask finds big keys online; files of backups can be downloaded and read by other tools"
_LOGS = "logs of nodes contain addresses and paths of the host; the operator of the host reads them there"
_MONITORING = "objects of the cloud's monitoring service, which does not exist here; see docs/monitoring.md for metrics"
_PUBLIC = "there are no public addresses to bind; see docs/network.md"
_EXPORT = "ListInstances and BatchShowNodesInformation have the same data as JSON, and need no file"

REASONS: Mapping[str, str] = {
    "CreateDiagnosisTask": _REPORT,
    "CreateOfflineKeyAnalysis": _OFFLINE,
    "CreateRedislog": _LOGS,
    "CreateRedislogDownloadLink": _LOGS,
    "CreateResizeOrder": "nothing is billed; ResizeInstance resizes",
    "DeleteDiagnosisTask": _REPORT,
    "DeleteIpFromDomainName": "instances have no domain names",
    "DeleteOfflineKeyAnalysisTask": _OFFLINE,
    "DeletePublicIp": _PUBLIC,
    "DownloadHotKey": "its response is not documented; ShowHotkeyTaskDetails has the keys",
    "ExchangeInstanceIp": _ADDRESSES,
    "ExecuteCommandMobilization": _WEB_CLI,
    "ExportExcelJob": _EXPORT,
    "ExportInstancesTask": _EXPORT,
    "ListDiagnosisTasks": _REPORT,
    "ListInstanceOperations": "its names of operations are not documented; each refused request has a reason",
    "ListMonitoredObjects": _MONITORING,
    "ListMonitoredObjectsOfInstance": _MONITORING,
    "LoginWebCli": _WEB_CLI,
    "LogoffWebCli": _WEB_CLI,
    "RollbackExchangeInstanceIp": _ADDRESSES,
    "ShowBandwidths": _BANDWIDTH,
    "ShowDiagnosisTaskDetails": _REPORT,
    "ShowOfflineKeyAnalysisTask": _OFFLINE,
    "UpdateBandwidth": _BANDWIDTH,
    "UpdateInstanceBandwidth": _BANDWIDTH,
    "UpdatePublicIp": _PUBLIC,
}
"""By the name of the operation."""
