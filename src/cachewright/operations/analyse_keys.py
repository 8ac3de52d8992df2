"""Analyses of an instance for big and for hot keys: every shard looks at all of its keys."""

import asyncio
from collections.abc import Sequence

import msgspec
import sqlalchemy as sa

from cachewright import errors
from cachewright.errors import ApiError
from cachewright.model.instances import Instance, Node
from cachewright.model.key_analyses import KeyAnalysis, Subject
from cachewright.model.scan_schedules import ScanType
from cachewright.model.tasks import Step, Task
from cachewright.operations.actions.key_scans import AnalyseNode, analyse_keys
from cachewright.operations.context import OperationContext, best_view
from cachewright.operations.operation import Accepted, Operation
from cachewright.store import key_analyses
from cachewright.tasks.plan import SubStepSpec, build, effort
from cachewright.topologies import topology_of
from cachewright.valkey.access import Access
from cachewright.valkey.client import NODE_GONE, NodeRefused
from cachewright.valkey.expiry_scan import count_keys
from cachewright.valkey.parameters import BY_NAME
from cachewright.valkey.replication import replication_of
from cachewright.valkey.topology import primaries

_KEY_ANALYSIS = "Key analysis."
_SECONDS_OF_KEY = 1e-5
_EXPECTED_SECONDS = 0.5
_ANSWER_SECONDS = 2.0


class AnalysisParams(msgspec.Struct, frozen=True, kw_only=True):
    """:ivar scan_type: `auto` for an analysis by the schedule of the instance."""

    scan_type: ScanType = "manual"


class AnalyseKeys(Operation[AnalysisParams, AnalysisParams]):
    """:cvar subject: what it looks for."""

    subject: Subject
    permission = "dcs:instance:modify"
    params = AnalysisParams
    outline = (_KEY_ANALYSIS,)
    repeatable = False
    status_while_running = "RUNNING"

    def validate(self, instance: Instance, nodes: Sequence[Node], request: AnalysisParams) -> Accepted[AnalysisParams]:
        if self.subject == "hot" and not counts_use(instance):
            raise ApiError(errors.ANALYSIS_UNSUPPORTED, reason=NO_COUNTERS)
        return Accepted(request)

    def expected_seconds(self, task: Task, nodes: Sequence[Node], dataset: int) -> float:
        return _EXPECTED_SECONDS

    def requested(self, connection: sa.Connection, instance: Instance, request: AnalysisParams, task: Task) -> None:
        self.retried(connection, task)

    def retried(self, connection: sa.Connection, task: Task) -> None:
        """All shards are analysed again, so keys of the former attempt are removed."""
        analysis = KeyAnalysis(
            id=task.id, instance_id=task.instance_id, subject=self.subject, created_at=task.created_at
        )
        key_analyses.add(connection, analysis)

    async def plan(self, context: OperationContext, task: Task) -> tuple[Step, ...]:
        """Counters of use are those of the primary. Sizes are the same on a replica, where the work does not delay
        the clients of the primary."""
        instance, nodes, views = await context.look(task)
        access = context.access(instance)
        leads = sorted(primaries(nodes, best_view(views)).values(), key=lambda node: node.shard)
        if self.subject == "big":
            chosen = await asyncio.gather(*(_least_busy(lead, nodes, access) for lead in leads))
        else:
            chosen = leads
        counts = await asyncio.gather(*(count_keys(node, access) for node in chosen))
        in_cluster = topology_of(instance.spec_code).is_cluster
        scans = [
            self._scan(lead, node, keys, in_cluster=in_cluster)
            for lead, node, keys in zip(leads, chosen, counts, strict=True)
        ]
        return build(task.run_id, {_KEY_ANALYSIS: scans})

    def _scan(self, lead: Node, node: Node, keys: int, *, in_cluster: bool) -> SubStepSpec:
        work = effort(node.id, seconds=_SECONDS_OF_KEY * keys, unit="keys", total=max(keys, 1))
        arguments = AnalyseNode(
            node_id=node.id, address=f"{lead.host}:{lead.port}", subject=self.subject, in_cluster=in_cluster
        )
        return analyse_keys.sub_step(f"Key analysis. Shard {lead.shard}", work, arguments)


class FindBigKeys(AnalyseKeys):
    kind = "find_big_keys"
    name = "CreateBigkeyScanTask"
    subject = "big"


class FindHotKeys(AnalyseKeys):
    kind = "find_hot_keys"
    name = "CreateHotkeyScanTask"
    subject = "hot"


BIG_KEYS, HOT_KEYS = FindBigKeys(), FindHotKeys()
ANALYSES = {operation.subject: operation for operation in (BIG_KEYS, HOT_KEYS)}
"""By subject."""

NO_COUNTERS = "nodes count the use of keys only with allkeys-lfu or volatile-lfu as the parameter maxmemory-policy"


def counts_use(instance: Instance) -> bool:
    """Whether the nodes count how often keys are used."""
    policy = instance.parameters.get("maxmemory-policy", BY_NAME["maxmemory-policy"].default)
    return policy.endswith("-lfu")


async def _least_busy(lead: Node, nodes: Sequence[Node], access: Access) -> Node:
    """Return a replica of the shard that has the same keys as its primary; the primary if there is none."""
    for node in nodes:
        if node.shard != lead.shard or node.id == lead.id:
            continue
        try:
            state = await replication_of(node, access, _ANSWER_SECONDS)
        except (*NODE_GONE, NodeRefused):
            continue
        if state.role == "replica" and state.is_linked:
            return node
    return lead
