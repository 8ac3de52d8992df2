"""Records that the cluster check compares clusters with: nodes, tasks and secrets of all instances."""

import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set

import msgspec
import sqlalchemy as sa

from cachewright.clock import now_ms
from cachewright.model.instances import Instance, Node
from cachewright.model.tasks import Step
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
        self._former: defaultdict[str, dict[str, float]] = defaultdict(dict)
        self._has_recalled = False

    def read(self, started: Set[str]) -> dict[str, Subject]:
        """Read all instances to check, by id. `started` are nodes that have run at least once. Nodes that were removed
        since the last call stay in `former` for ten minutes: other nodes may still know them. At the first call, these
        are the nodes of all tasks that have ended in the ten minutes before. An instance that has just become a cluster
        is not checked before the nodes that it had are removed: its first node then has taken over."""
        with self._context.database.read() as connection:
            self._recall(connection)
            secrets = instances.secrets(connection, _CHECKED)
            spec_codes = instances.spec_codes(connection)
            nodes: dict[str, list[Node]] = defaultdict(list)
            for node in instances.all_nodes(connection):
                nodes[node.instance_id].append(node)
            changing = _changing(tasks.steps_now(connection))
        for instance_id in self._ids.keys() | self._former.keys() | nodes.keys():
            self._remember(instance_id, nodes.get(instance_id, ()))
        found = (
            self._subject(
                instance_id,
                spec_codes[instance_id],
                nodes[instance_id],
                secrets=secret,
                changing=changing,
                started=started,
            )
            for instance_id, secret in secrets.items()
        )
        return {subject.instance_id: subject for subject in found if subject}

    def read_one(self, instance_id: str, started: Set[str]) -> Subject | None:
        """Read one instance. None if it is not one to check."""
        with self._context.database.read() as connection:
            self._recall(connection)
            instance = instances.find(connection, instance_id)
            nodes = [*instances.nodes_of(connection, instance_id), *instances.apart_of(connection, instance_id)]
            changing = _changing(tasks.steps_now(connection, instance_id))
        self._remember(instance_id, nodes)
        if instance is None or instance.status not in _CHECKED:
            return None
        return self._subject(
            instance_id, instance.spec_code, nodes, secrets=instance, changing=changing, started=started
        )

    def _subject(
        self,
        instance_id: str,
        spec_code: str,
        recorded: Sequence[Node],
        *,
        secrets: Instance | instances.Secrets,
        changing: Mapping[str, frozenset[str]],
        started: Set[str],
    ) -> Subject | None:
        topology, nodes = topology_of(spec_code), [node for node in recorded if not node.apart]
        if not nodes or (topology.is_cluster and len(nodes) < len(recorded)):
            return None
        never_started = {node.id for node in nodes} - started
        record = Record(
            nodes=nodes,
            former=frozenset(self._former.get(instance_id, ())),
            changing=changing.get(instance_id, frozenset()) | never_started,
            idle=instance_id not in changing,
        )
        return Subject(instance_id=instance_id, record=record, access=self._context.access(secrets), topology=topology)

    def _recall(self, connection: sa.Connection) -> None:
        """At the first call, remember the nodes of all tasks that ended in the last ten minutes."""
        if self._has_recalled:
            return
        until = time.monotonic() + _FORMER_SECONDS
        for instance_id, steps in tasks.steps_ended_since(connection, now_ms() - int(_FORMER_SECONDS * 1000)):
            self._former[instance_id] |= dict.fromkeys(_nodes_in(steps), until)
        self._has_recalled = True

    def _remember(self, instance_id: str, recorded: Sequence[Node]) -> None:
        """Remember the nodes of an instance, and for ten minutes those that it had."""
        now, own = time.monotonic(), {node.id for node in recorded if not node.apart}
        former = self._former.pop(instance_id, {})
        for node_id in self._ids.pop(instance_id, set()) - own:
            former[node_id] = now + _FORMER_SECONDS
        if recent := {node_id: until for node_id, until in former.items() if until > now and node_id not in own}:
            self._former[instance_id] = recent
        if own:
            self._ids[instance_id] = own


def _nodes_in(steps: Iterable[Step]) -> set[str]:
    """Ids of nodes on which a task with these steps has worked."""
    arguments = (sub_step.arguments for step in steps for sub_step in step.sub_steps)
    return {each["node_id"] for each in arguments if "node_id" in each}


def _changing(active: Iterable[tuple[str, Sequence[Step]]]) -> dict[str, frozenset[str]]:
    """Ids of nodes that tasks with these steps add, remove or restart now, by the ids of their instances."""
    found: dict[str, frozenset[str]] = {}
    for instance_id, steps in active:
        found[instance_id] = found.get(instance_id, frozenset()) | changing_nodes(steps)
    return found
