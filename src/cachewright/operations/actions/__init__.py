"""Actions: what sub-steps do. `ACTIONS` is the registry, by the name that stored plans use."""

from collections.abc import Mapping
from typing import Any

from cachewright.operations.actions import (
    backup,
    checks,
    client_access,
    cluster,
    failover,
    flush,
    key_scans,
    node_status,
    nodes,
    parameters,
    rebuild,
    replicas,
    slots,
    switchover,
    upgrade,
    users,
)
from cachewright.operations.actions.action import Action
from cachewright.tasks.operation import PLAN, RECOVER, Policy

_ALL: tuple[Action[Any], ...] = (
    backup.take_snapshot,
    backup.check_snapshot,
    backup.store_shard,
    backup.store_manifest,
    checks.check_resources,
    checks.check_status,
    client_access.move_port,
    client_access.switch_tls,
    client_access.apply_whitelist,
    cluster.form_cluster,
    cluster.join_cluster,
    failover.form_replication,
    failover.watch_primary,
    failover.start_proxy,
    failover.end_failover,
    failover.end_proxy,
    nodes.start_node,
    nodes.restart_node,
    nodes.set_memory,
    nodes.release_node,
    nodes.stop_node,
    parameters.set_parameters,
    parameters.restart_with_parameters,
    parameters.check_parameters,
    replicas.add_replica,
    replicas.remove_replica,
    key_scans.scan_for_expired_keys,
    slots.move_slots,
    flush.flush_shard,
    node_status.halt_node,
    node_status.resume_node,
    node_status.settle_nodes,
    rebuild.promote_replica,
    rebuild.rebuild_node,
    rebuild.restore_membership,
    switchover.compare_offsets,
    switchover.switch_over,
    switchover.check_followers,
    upgrade.upgrade_node,
    users.set_users,
    users.check_users,
)
ACTIONS: Mapping[str, Action[Any]] = {action.name: action for action in _ALL}
POLICIES: Mapping[str, Policy] = {
    **{action.name: action.policy for action in _ALL},
    PLAN: Policy(timeout=60, attempts=6),
    RECOVER: Policy(timeout=120, attempts=8),
}
