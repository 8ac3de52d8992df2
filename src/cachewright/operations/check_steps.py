"""Sub-steps that check resources and health. Pure."""

from collections.abc import Sequence

from cachewright.operations.actions.checks import CheckResources, CheckStatus, check_resources, check_status
from cachewright.operations.step_names import RESOURCE_CHECK, STATUS_CHECK
from cachewright.tasks.plan import SubStepSpec, effort
from cachewright.topologies.topology import CHECK_SECONDS

_LANE = "check"


def resource_check(needed: CheckResources) -> SubStepSpec:
    """Return the check that hosts and nodes have room for what the plan needs."""
    return check_resources.sub_step(RESOURCE_CHECK, effort(_LANE, seconds=CHECK_SECONDS), needed)


def status_check(excluded: Sequence[str] = ()) -> SubStepSpec:
    """Return the check that the instance is healthy. `excluded` are ids of nodes that it leaves out."""
    return check_status.sub_step(STATUS_CHECK, effort(_LANE, seconds=CHECK_SECONDS), CheckStatus(tuple(excluded)))
