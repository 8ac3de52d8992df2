"""What the cluster check compares clusters with: nodes, tasks and secrets of all instances, read when they change."""

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
    """One instance that is checked."""

    instance_id: str
    record: Record
    access: Access
    topology: Topology


class Records:
    """For one thread at a time."""

    def __init__(self, site: OperationContext) -> None:
        self._site = site
        self._ids: dict[str, set[str]] = {}
        self._former: dict[str, dict[str, float]] = defaultdict(dict)

    def read(self, started: Set[str]) -> dict[str, Subject]:
        """Every instance that is checked, by id. `started` are the nodes that have run at least once. Nodes that are
        gone since the last call stay known for ten minutes: some node may not have heard yet that they have left."""
        with self._site.database.read() as connection:
            secrets = instances.secrets(connection, _CHECKED)
            spec_codes = instances.spec_codes(connection)
            nodes: dict[str, list[Node]] = defaultdict(list)
            for node in instances.all_nodes(connection):
                nodes[node.instance_id].append(node)
            changing = _changing(connection)
        self._remember(nodes)
        access = {known: Access(*found, self._site.host.nodes_dir) for known, found in secrets.items()}
        return {
            known: Subject(
                instance_id=known,
                record=self._record(known, nodes[known], changing, started),
                access=access[known],
                topology=topology_of(spec_codes[known]),
            )
            for known in secrets
            if nodes[known]
        }

    def _record(
        self, instance_id: str, nodes: list[Node], changing: Mapping[str, frozenset[str]], started: Set[str]
    ) -> Record:
        unborn = {node.id for node in nodes} - started
        return Record(
            nodes=nodes,
            former=frozenset(self._former.get(instance_id, ())),
            changing=changing.get(instance_id, frozenset()) | unborn,
            idle=instance_id not in changing,
        )

    def _remember(self, nodes: Mapping[str, list[Node]]) -> None:
        now = time.monotonic()
        ids = {instance_id: {node.id for node in found} for instance_id, found in nodes.items()}
        for instance_id, before in self._ids.items():
            for gone in before - ids.get(instance_id, set()):
                self._former[instance_id][gone] = now + _FORMER_SECONDS
        for instance_id, former in list(self._former.items()):
            own = ids.get(instance_id, set())
            left = {known: until for known, until in former.items() if until > now and known not in own}
            if left:
                self._former[instance_id] = left
            else:
                del self._former[instance_id]
        self._ids = ids


def _changing(connection: sa.Connection) -> dict[str, frozenset[str]]:
    """By instances that have a task, the nodes that it adds, takes away or restarts now."""
    found: dict[str, frozenset[str]] = {}
    for task in tasks.unfinished(connection):
        nodes = changing_nodes(tasks.load(connection, task.id)) if task.status == "EXECUTING" else frozenset()
        found[task.instance_id] = found.get(task.instance_id, frozenset()) | nodes
    return found
