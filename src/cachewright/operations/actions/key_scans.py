"""Actions that look at the keys of a node."""

import time
from contextlib import aclosing

import msgspec

from cachewright.operations.actions.action import action
from cachewright.operations.context import OperationContext
from cachewright.tasks.operation import StepContext
from cachewright.valkey import expiry_scan

_DAY_SECONDS = 24 * 3600.0


class ScanNode(msgspec.Struct, frozen=True, kw_only=True):
    """:ivar keys_at_once: keys that the node looks at in one step.
    :ivar seconds: time after which the scan ends; 0 for no limit.
    """

    node_id: str
    keys_at_once: int
    seconds: int


@action("scan for expired keys", ScanNode, timeout=_DAY_SECONDS, attempts=4)
async def scan_for_expired_keys(context: OperationContext, step: StepContext, arguments: ScanNode) -> None:
    """Scan all keys of a node, so that it deletes those that have expired. A repetition starts from the beginning."""
    instance = await context.instance(step.task)
    node = await context.node(instance.id, arguments.node_id)
    if node is None:
        return
    begin = time.monotonic()
    async with aclosing(expiry_scan.scan(node, context.access(instance), arguments.keys_at_once)) as progress:
        async for scanned in progress:
            shown = f"{{node_id:{node.id},keys_scanned:{scanned.keys},keys_expired:{scanned.expired}}}"
            step.measure(done=min(scanned.keys, step.sub_step.work.total), detail=shown)
            await step.wait_until_allowed()
            if arguments.seconds and time.monotonic() - begin > arguments.seconds:
                return
