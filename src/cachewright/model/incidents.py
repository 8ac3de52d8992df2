"""Incidents of instances."""

from typing import Literal

import msgspec

FaultKind = Literal[
    "foreign_member",
    "credentials_refused",
    "node_start",
    "broken_node",
    "stopped_nodes",
    "stopped_shards",
    "node_id",
    "uncovered_slots",
    "missing_member",
    "failed_primary",
    "cluster_state",
    "no_answer",
    "write_loss_risk",
    "unequal_nodes",
    "two_primaries",
    "replication",
    "silent_host",
    "lost_data",
    "no_proxy",
    "no_failover",
    "no_whitelist",
    "short_write_log",
]


class Incident(msgspec.Struct, frozen=True, kw_only=True):
    """A fault of an instance, from its report to its end.

    :ivar detail: description of the fault at its first report.
    :ivar ended_at: None while the instance has the fault.
    """

    id: str
    instance_id: str
    project_id: str
    kind: FaultKind
    error_code: str
    detail: str
    began_at: int
    ended_at: int | None = None
