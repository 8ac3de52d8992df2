"""Scan of an instance for expired keys: each primary looks at all of its keys, and deletes those that have expired."""

import asyncio
import re
from collections.abc import Sequence

import msgspec

from cachewright.model.instances import Instance, Node
from cachewright.model.scan_schedules import DEFAULT_KEYS_AT_ONCE, ScanType
from cachewright.model.tasks import Step, Task
from cachewright.operations.actions.key_scans import ScanNode, scan_for_expired_keys
from cachewright.operations.context import OperationContext, best_view
from cachewright.operations.operation import Accepted, Operation
from cachewright.tasks.plan import SubStepSpec, build, effort
from cachewright.valkey.expiry_scan import count_keys
from cachewright.valkey.topology import primaries

_KEY_SCAN = "Key scan."
_SECONDS_OF_STEP = 0.0015
_EXPECTED_SECONDS = 0.5
_EXPIRED = re.compile(r"keys_expired:(\d+)")


class ScanParams(msgspec.Struct, frozen=True, kw_only=True):
    """:ivar scan_type: `auto` for a scan by the schedule of the instance.
    :ivar timeout: seconds after which each node ends its scan; 0 for no limit.
    """

    scan_type: ScanType = "manual"
    keys_at_once: int = DEFAULT_KEYS_AT_ONCE
    timeout: int = 0


class ScanExpired(Operation[ScanParams, ScanParams]):
    kind = "scan_expired"
    name = "ScanExpireKey"
    permission = "dcs:instance:modify"
    params = ScanParams
    outline = (_KEY_SCAN,)
    repeatable = False
    status_while_running = "RUNNING"

    def validate(self, instance: Instance, nodes: Sequence[Node], request: ScanParams) -> Accepted[ScanParams]:
        return Accepted(request)

    def expected_seconds(self, task: Task, nodes: Sequence[Node], dataset: int) -> float:
        return _EXPECTED_SECONDS

    async def plan(self, context: OperationContext, task: Task) -> tuple[Step, ...]:
        """Only primaries: replicas delete what their primary deletes."""
        instance, nodes, views = await context.look(task)
        access, params = context.access(instance), self.params_of(task)
        leads = sorted(primaries(nodes, best_view(views)).values(), key=lambda node: node.shard)
        counts = await asyncio.gather(*(count_keys(node, access) for node in leads))
        scans = [_scan(node, keys, params) for node, keys in zip(leads, counts, strict=True)]
        return build(task.run_id, {_KEY_SCAN: scans})


def expired_keys(task: Task) -> int:
    """Number of keys that nodes have deleted during the scan because they had expired. `task` has its steps."""
    details = [sub_step.detail for step in task.steps for sub_step in step.sub_steps]
    return sum(int(found[1]) for detail in details if (found := _EXPIRED.search(detail)))


def _scan(node: Node, keys: int, params: ScanParams) -> SubStepSpec:
    seconds = _SECONDS_OF_STEP * (keys / params.keys_at_once + 1)
    work = effort(node.id, seconds=seconds, unit="keys", total=max(keys, 1))
    arguments = ScanNode(node_id=node.id, keys_at_once=params.keys_at_once, seconds=params.timeout)
    return scan_for_expired_keys.sub_step(f"Key scan. Shard {node.shard}", work, arguments)


SCAN_EXPIRED = ScanExpired()
