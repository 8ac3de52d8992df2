"""Records that the cluster check compares clusters with: nodes, tasks and secrets of all instances."""

import time
from collections import defaultdict
from collections.abc import Mapping, Set

import msgspec
import sqlalchemy as sa

from cachewright.model.instances import Node
from cachewright.monitoring.cluster_findings import Record, changing_nodes
from cachewright.operations import STATUSES_WITH_RUNNING_NODES
from cachewright.operations.context import OperationContext
from cachewright.operations.create import CREATE
from cachewright.store import instances, tasks
from cachewright.topologies import topology_of
from cachewright.topologies.topology import Topology
from cachewright.valkey.access import Access

_CHECKED = STATUSES_WITH_RUNNING_NODES | {CREATE.status_while_running}
"""Instance statuses in which an instance has nodes that run."""

_FORMER_SECONDS = 600.0


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """One instance to check."""

    instance_id: str
    record: Record
    access: Access
    topology: Topology


class Records:
    """Reads the records. Not thread-safe."""

    def __init__(self, context: OperationContext) -> None:
        self._context = context
        self._ids: dict[str, set[str]] = {}
        self._former: dict[str, dict[str, float]] = defaultdict(dict)

    def read(self, started: Set[str]) -> dict[str, Subject]:
        """Read all instances to check, by id. `started` are nodes that have run at least once. Nodes that were removed
        since the last call stay in `former` for ten minutes: other nodes may still know them. An instance that has just
        become a cluster is not checked before the nodes that it had are removed: its first node then has taken over."""
        with self._context.database.read() as connection:
            secrets = instances.secrets(connection, _CHECKED)
            spec_codes = instances.spec_codes(connection)
            replaced: set[str] = set()
            nodes: dict[str, list[Node]] = defaultdict(list)
            for node in instances.all_nodes(connection):
                if not node.apart:
                    nodes[node.instance_id].append(node)
                elif topology_of(spec_codes[node.instance_id]).is_cluster:
                    replaced.add(node.instance_id)
            changing = _changing(connection)
        self._remember(nodes)
        access = {instance_id: self._context.access(found) for instance_id, found in secrets.items()}
        return {
            instance_id: Subject(
                instance_id=instance_id,
                record=self._record(instance_id, nodes[instance_id], changing, started),
                access=access[instance_id],
                topology=topology_of(spec_codes[instance_id]),
            )
            for instance_id in secrets
            if nodes[instance_id] and instance_id not in replaced
        }

    def _record(
        self, instance_id: str, nodes: list[Node], changing: Mapping[str, frozenset[str]], started: Set[str]
    ) -> Record:
        never_started = {node.id for node in nodes} - started
        return Record(
            nodes=nodes,
            former=frozenset(self._former.get(instance_id, ())),
            changing=changing.get(instance_id, frozenset()) | never_started,
            idle=instance_id not in changing,
        )

    def _remember(self, nodes: Mapping[str, list[Node]]) -> None:
        now = time.monotonic()
        ids = {instance_id: {node.id for node in found} for instance_id, found in nodes.items()}
        for instance_id, before in self._ids.items():
            for node_id in before - ids.get(instance_id, set()):
                self._former[instance_id][node_id] = now + _FORMER_SECONDS
        for instance_id, former in list(self._former.items()):
            own = ids.get(instance_id, set())
            recent = {node_id: until for node_id, until in former.items() if until > now and node_id not in own}
            if recent:
                self._former[instance_id] = recent
            else:
                del self._former[instance_id]
        self._ids = ids


def _changing(connection: sa.Connection) -> dict[str, frozenset[str]]:
    """Ids of nodes that tasks add, remove or restart now, by the ids of instances with an unfinished task."""
    found: dict[str, frozenset[str]] = {}
    for task in tasks.active(connection):
        nodes = changing_nodes(tasks.load(connection, task.id)) if task.status == "EXECUTING" else frozenset()
        found[task.instance_id] = found.get(task.instance_id, frozenset()) | nodes
    return found
