"""The actions that sub-steps name, and for each, as for a plan, how long it may take and how often it is tried."""

from collections.abc import Awaitable, Callable

import msgspec

from cachewright.operations.actions import cluster, nodes, parameters, slots
from cachewright.operations.context import OperationContext
from cachewright.tasks.operation import PLAN, RECOVER, Policy, StepContext


class Action(msgspec.Struct, frozen=True):
    body: Callable[[OperationContext, StepContext], Awaitable[None]]
    policy: Policy


ACTIONS = {
    "check resources": Action(cluster.check_resources, Policy(timeout=10, attempts=1)),
    "check status": Action(cluster.check_status, Policy(timeout=20, attempts=8)),
    "start node": Action(nodes.start, Policy(timeout=300, attempts=4)),
    "form cluster": Action(cluster.form, Policy(timeout=60, attempts=2)),
    "join cluster": Action(cluster.join, Policy(timeout=60, attempts=3)),
    "move slots": Action(slots.move, Policy(timeout=6 * 3600, attempts=6, first_delay=1.0, stalled=60)),
    "restart node": Action(nodes.restart, Policy(timeout=600, attempts=4)),
    "set parameters": Action(parameters.set_on_node, Policy(timeout=30, attempts=4)),
    "check parameters": Action(parameters.check, Policy(timeout=60, attempts=3)),
    "set memory": Action(nodes.set_memory, Policy(timeout=20, attempts=6)),
    "release node": Action(nodes.release, Policy(timeout=60, attempts=6)),
    "stop node": Action(nodes.stop, Policy(timeout=60, attempts=6)),
}
POLICIES = {name: action.policy for name, action in ACTIONS.items()} | {
    PLAN: Policy(timeout=60, attempts=6),
    RECOVER: Policy(timeout=120, attempts=8),
}
