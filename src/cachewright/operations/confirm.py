"""Confirmation of a setting that an instance has already.

The cloud changes such a setting in a background task, and its clients wait for the task. Nothing is changed here, so
the task only verifies that every node responds and finds the instance healthy.
"""

from collections.abc import Sequence

from cachewright.model.instances import Instance, Node
from cachewright.model.tasks import Step, Task
from cachewright.operations.context import OperationContext
from cachewright.operations.operation import Accepted, NoParams, Operation
from cachewright.operations.step_names import PRE_CHECK
from cachewright.tasks.plan import build
from cachewright.topologies.topology import status_check

_SECONDS = 0.1


class ConfirmClientAddresses(Operation[None, NoParams]):
    """Confirmation that no proxy passes on the addresses of clients: Valkey does not support the PROXY protocol."""

    kind = "confirm_client_addresses"
    name = "modifyClientIpTransJob"
    permission = "dcs:instance:modify"
    params = NoParams
    outline = (PRE_CHECK,)
    status_while_running = "RUNNING"

    def validate(self, instance: Instance, nodes: Sequence[Node], request: None) -> Accepted[NoParams]:
        return Accepted(NoParams())

    def expected_seconds(self, task: Task, nodes: Sequence[Node], dataset: int) -> float:
        return _SECONDS

    async def plan(self, context: OperationContext, task: Task) -> tuple[Step, ...]:
        return build(task.run_id, {PRE_CHECK: [status_check()]})


class ConfirmNoTls(ConfirmClientAddresses):
    """Confirmation that clients of an instance without a proxy connect without TLS."""

    kind = "confirm_no_tls"
    name = "UpdateSslSwitch"


class ConfirmNoWhitelist(ConfirmClientAddresses):
    """Confirmation that connections are not filtered by address."""

    kind = "confirm_no_whitelist"
    name = "AddWhitelist"


CONFIRM_CLIENT_ADDRESSES = ConfirmClientAddresses()
CONFIRM_NO_TLS = ConfirmNoTls()
CONFIRM_NO_WHITELIST = ConfirmNoWhitelist()
