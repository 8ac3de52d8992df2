"""Kinds of faults of a running instance, and the status that follows from them. Pure."""

from collections.abc import Collection, Mapping

import msgspec

from cachewright import errors
from cachewright.model.incidents import FaultKind


class Rule(msgspec.Struct, frozen=True):
    """Treatment of one kind of fault.

    :ivar code: error code of an instance with the fault.
    :ivar confirm_seconds: time that the fault must last, over at least two checks, before it is reported; 0 reports it
        immediately.
    :ivar hold_seconds: time without the fault after which its incident ends.
    :ivar changes_status: whether an instance with the fault is in ERROR. Faults that leave it usable do not.
    """

    code: str
    confirm_seconds: float = 0.0
    hold_seconds: float = 0.0
    changes_status: bool = True


RULES: Mapping[FaultKind, Rule] = {
    "foreign_member": Rule(errors.FOREIGN_CLUSTER_MEMBER, hold_seconds=10),
    "credentials_refused": Rule(errors.CONTROL_PLANE_REJECTED, confirm_seconds=2),
    "node_start": Rule(errors.NODE_START_FAILED),
    "lost_data": Rule(errors.CLUSTER_UNHEALTHY),
    "node_id": Rule(errors.CLUSTER_UNHEALTHY, confirm_seconds=2),
    "uncovered_slots": Rule(errors.CLUSTER_UNHEALTHY, confirm_seconds=8),
    "missing_member": Rule(errors.CLUSTER_UNHEALTHY, confirm_seconds=6),
    "failed_primary": Rule(errors.CLUSTER_UNHEALTHY, confirm_seconds=10),
    "two_primaries": Rule(errors.CLUSTER_UNHEALTHY, confirm_seconds=5),
    "no_proxy": Rule(errors.CLUSTER_UNHEALTHY),
    "cluster_state": Rule(errors.CLUSTER_UNHEALTHY, confirm_seconds=10),
    "no_answer": Rule(errors.CLUSTER_UNHEALTHY, confirm_seconds=20),
    "write_loss_risk": Rule(errors.WRITES_POSSIBLY_LOST, hold_seconds=3600, changes_status=False),
    "stopped_shards": Rule(errors.INSTANCE_NOT_RUNNING),
    "stopped_nodes": Rule(errors.INSTANCE_NOT_RUNNING, changes_status=False),
    "silent_host": Rule(errors.CLUSTER_UNHEALTHY, changes_status=False),
    "broken_node": Rule(errors.NODE_START_FAILED, changes_status=False),
    "unequal_nodes": Rule(errors.UNEQUAL_NODES, confirm_seconds=10, changes_status=False),
    "replication": Rule(errors.CLUSTER_UNHEALTHY, confirm_seconds=15, changes_status=False),
    "no_failover": Rule(errors.CLUSTER_UNHEALTHY, changes_status=False),
    "no_whitelist": Rule(errors.CLUSTER_UNHEALTHY, changes_status=False),
    "short_write_log": Rule(errors.LIMIT_EXCEEDED, changes_status=False),
}
"""Most severe first: that fault determines the error code of the instance."""

_CODES = {rule.code for rule in RULES.values() if rule.changes_status}
_RANK = {kind: place for place, kind in enumerate(RULES)}


def status_with(status: str, error_code: str | None, faults: Collection[FaultKind]) -> tuple[str, str | None]:
    """Status and error code that follow from an instance's present ones and its faults.

    A fault changes RUNNING to ERROR; the end of the last fault changes it back. A status set by a task stays. Faults
    that leave the instance usable count for nothing here.
    """
    faults = [fault for fault in faults if RULES[fault].changes_status]
    by_fault = status == "ERROR" and error_code in _CODES
    if status != "RUNNING" and not by_fault:
        return status, error_code
    if faults:
        return "ERROR", RULES[min(faults, key=_RANK.__getitem__)].code
    return ("RUNNING", None) if by_fault else (status, error_code)
