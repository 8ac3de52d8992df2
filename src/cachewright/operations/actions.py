"""The actions that sub-steps name, and for each, as for a plan, how long it may take and how often it is tried."""

from collections.abc import Awaitable, Callable

import msgspec

from cachewright.operations import cluster_actions, node_actions, parameter_actions, slot_actions
from cachewright.operations.site import Site
from cachewright.tasks.operation import PLAN, RECOVER, Policy, Running


class Action(msgspec.Struct, frozen=True):
    body: Callable[[Site, Running], Awaitable[None]]
    policy: Policy


ACTIONS = {
    "check resources": Action(cluster_actions.check_resources, Policy(timeout=10, attempts=1)),
    "check status": Action(cluster_actions.check_status, Policy(timeout=20, attempts=8)),
    "start node": Action(node_actions.start, Policy(timeout=300, attempts=4)),
    "form cluster": Action(cluster_actions.form, Policy(timeout=60, attempts=2)),
    "join cluster": Action(cluster_actions.join, Policy(timeout=60, attempts=3)),
    "move slots": Action(slot_actions.move, Policy(timeout=6 * 3600, attempts=6, first_delay=1.0, stalled=60)),
    "restart node": Action(node_actions.restart, Policy(timeout=600, attempts=4)),
    "set parameters": Action(parameter_actions.set_on_node, Policy(timeout=30, attempts=4)),
    "check parameters": Action(parameter_actions.check, Policy(timeout=60, attempts=3)),
    "set memory": Action(node_actions.set_memory, Policy(timeout=20, attempts=6)),
    "release node": Action(node_actions.release, Policy(timeout=60, attempts=6)),
    "stop node": Action(node_actions.stop, Policy(timeout=60, attempts=6)),
}
POLICIES = {name: action.policy for name, action in ACTIONS.items()} | {
    PLAN: Policy(timeout=60, attempts=6),
    RECOVER: Policy(timeout=120, attempts=8),
}
