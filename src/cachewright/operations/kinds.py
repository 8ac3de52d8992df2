"""The kinds of background task, as a table: what each starts from, what the instance is meanwhile and afterwards."""

from collections.abc import Sequence

import msgspec

from cachewright.model.tasks import Step
from cachewright.tasks import plan

PRE_CHECK = "Pre-check."
POST_CHECK = "Post-check."
RESOURCE_CHECK = "Resource check."
STATUS_CHECK = "Instance status check."


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """:ivar name: the cloud's word for it in a task list.
    :ivar accepts: instance statuses it may be asked in.
    :ivar during: instance status while it runs.
    :ivar success: instance status after it; None where the instance is gone then.
    :ivar failure: instance status where it failed and what it left was put in order.
    :ivar divisible: it can be paused or cancelled half-way, with the instance in order.
    :ivar steps: names of its steps, shown as WAITING until its plan is made.
    """

    kind: str
    name: str
    accepts: frozenset[str] = frozenset()
    during: str
    success: str | None
    failure: str
    divisible: bool = True
    steps: Sequence[str]

    def outline(self, task_id: str) -> tuple[Step, ...]:
        """The steps as they are known before the instance has been looked at."""
        return plan.outline(task_id, self.steps)


CREATE = Kind(
    kind="create",
    name="CreateInstance",
    during="CREATING",
    success="RUNNING",
    failure="CREATEFAILED",
    steps=(PRE_CHECK, "Resource request.", "Cluster formation."),
)
RESIZE = Kind(
    kind="resize",
    name="EXTEND",
    accepts=frozenset({"RUNNING"}),
    during="EXTENDING",
    success="RUNNING",
    failure="RUNNING",
    steps=(PRE_CHECK, "Data migration.", POST_CHECK),
)
DELETE = Kind(
    kind="delete",
    name="DeleteInstance",
    accepts=frozenset({"RUNNING", "EXTENDING", "ERROR", "CREATEFAILED"}),
    during="DELETING",
    success=None,
    failure="ERROR",
    divisible=False,
    steps=("Resource release.",),
)
CHECK = Kind(
    kind="check",
    name="ResizeCheck",
    accepts=frozenset({"RUNNING"}),
    during="RUNNING",
    success="RUNNING",
    failure="RUNNING",
    steps=(PRE_CHECK,),
)
RESTART = Kind(
    kind="restart",
    name="RestartInstance",
    accepts=frozenset({"RUNNING"}),
    during="RESTARTING",
    success="RUNNING",
    failure="RUNNING",
    steps=(PRE_CHECK, "Node restart.", POST_CHECK),
)
CONFIGURE = Kind(
    kind="configure",
    name="UpdateInstanceConfig",
    accepts=frozenset({"RUNNING"}),
    during="RUNNING",
    success="RUNNING",
    failure="RUNNING",
    divisible=False,
    steps=("Parameter change.", POST_CHECK),
)
KINDS = {kind.kind: kind for kind in (CREATE, RESIZE, RESTART, CHECK, CONFIGURE, DELETE)}
