"""What can be wrong with a running instance, and what follows for its status. Pure."""

from collections.abc import Collection, Mapping

import msgspec

from cachewright import errors
from cachewright.model.incidents import FaultKind


class Rule(msgspec.Struct, frozen=True):
    """How a kind of fault is treated.

    :ivar code: error code of an instance that has it.
    :ivar confirm_seconds: for so long it must have been there, in at least two checks, before it is reported; 0 for one
        that is reported when it is seen.
    :ivar hold_seconds: for so long it must be gone before its incident ends.
    """

    code: str
    confirm_seconds: float = 0.0
    hold_seconds: float = 0.0


RULES: Mapping[FaultKind, Rule] = {
    "foreign_member": Rule(errors.FOREIGN_CLUSTER_MEMBER, hold_seconds=10),
    "credentials_refused": Rule(errors.CONTROL_PLANE_REJECTED, confirm_seconds=2),
    "node_start": Rule(errors.NODE_START_FAILED),
    "node_id": Rule(errors.CLUSTER_UNHEALTHY, confirm_seconds=2),
    "uncovered_slots": Rule(errors.CLUSTER_UNHEALTHY, confirm_seconds=8),
    "missing_member": Rule(errors.CLUSTER_UNHEALTHY, confirm_seconds=6),
    "failed_primary": Rule(errors.CLUSTER_UNHEALTHY, confirm_seconds=10),
    "cluster_state": Rule(errors.CLUSTER_UNHEALTHY, confirm_seconds=10),
    "no_answer": Rule(errors.CLUSTER_UNHEALTHY, confirm_seconds=20),
}
"""Gravest first: it gives the instance its error code."""

_CODES = {rule.code for rule in RULES.values()}
_RANK = {kind: place for place, kind in enumerate(RULES)}


def status_with(status: str, error_code: str | None, faults: Collection[FaultKind]) -> tuple[str, str | None]:
    """Status and error code of an instance that has these and has these faults.

    A fault puts an instance that is RUNNING into ERROR, and one that has come there by a fault back when it has none. A
    status that a task has set stays.
    """
    by_fault = status == "ERROR" and error_code in _CODES
    if status != "RUNNING" and not by_fault:
        return status, error_code
    if faults:
        return "ERROR", RULES[min(faults, key=_RANK.__getitem__)].code
    return ("RUNNING", None) if by_fault else (status, error_code)
