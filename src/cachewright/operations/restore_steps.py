"""The sub-steps with which nodes get the data of a backup. Pure."""

from collections.abc import Mapping, Sequence

from cachewright.model.hosts import EMBEDDED
from cachewright.model.instances import Node
from cachewright.operations.actions.action import Action, Arguments, NoArguments, NodeArguments
from cachewright.operations.actions.cluster import FormCluster, JoinCluster, form_cluster, join_cluster
from cachewright.operations.actions.division import OrderSnapshot, order_snapshot
from cachewright.operations.actions.node_status import NodeList, halt_node, resume_node
from cachewright.operations.actions.replicas import add_replica
from cachewright.operations.actions.restore import (
    FetchSnapshot,
    NodeData,
    delete_files,
    fetch_snapshot,
    load_data,
    make_data,
)
from cachewright.operations.actions.takeover import (
    KeepBackup,
    check_data,
    clear_replica,
    copy_data,
    keep_backup,
    take_over,
)
from cachewright.operations.restore_content import BackupContent, expected_bytes, needs_slot_order
from cachewright.operations.step_names import POST_CHECK
from cachewright.tasks.plan import SubStepSpec, effort
from cachewright.topologies.topology import Steps, Topology, start_node, status_check
from cachewright.valkey.slots import even_split

BACKUP_DOWNLOAD = "Backup download."
DATA_PREPARATION = "Data preparation."
_DIVISION = "Division by slots."
DATA_LOAD = "Data load."
REPLICA_SYNCHRONIZATION = "Replica synchronization."
SAFETY_BACKUP, TAKEOVER = "Safety backup.", "Takeover."

_FETCH_SECONDS_A_BYTE = 18e-9  # before the first restore, as the others
_MAKE_SECONDS_A_BYTE = 4e-9
_LOAD_SECONDS, _LOAD_SECONDS_A_BYTE = 0.3, 8e-9
_ORDER_SECONDS_A_BYTE = 25e-9
_SYNC_SECONDS, _SYNC_SECONDS_A_BYTE = 0.6, 12e-9
_FORM_SECONDS, _FORM_SECONDS_A_NODE = 0.2, 0.06
_CHECK_SECONDS = 0.05
STOP_SECONDS = 1.0
_START_SECONDS, _SETTLE_SECONDS = 0.5, 0.5
SECONDS_OF_BYTE = _FETCH_SECONDS_A_BYTE + _MAKE_SECONDS_A_BYTE + _LOAD_SECONDS_A_BYTE
"""Expected duration for each byte of a backup, before there is a plan."""

_AT_ONCE = 2
"""Sub-steps of the server's disk or processor that run at the same time."""


def download_steps(content: BackupContent, primaries: Sequence[Node], divider: Node | None) -> Steps:
    """Return the steps after which the backup is on the server's disk, ready for these primaries. Agents fetch it
    themselves for nodes on other hosts.

    :param divider: node of the host that divides it by slots if that is needed; None for that of the server.
    """
    here = [node for node in primaries if node.host_name == EMBEDDED]
    fetches = _fetches(content)
    if not needs_slot_order(content, len(primaries)):
        return {BACKUP_DOWNLOAD: fetches} if here else {}
    order = [_order(content, divider, is_shared=len(here) < len(primaries))]
    if divider is None:
        return {BACKUP_DOWNLOAD: fetches, _DIVISION: order}
    return {_DIVISION: order, BACKUP_DOWNLOAD: fetches if here else []}


def _order(content: BackupContent, divider: Node | None, *, is_shared: bool) -> SubStepSpec:
    seconds = _LOAD_SECONDS + content.size * _ORDER_SECONDS_A_BYTE
    work = effort("backup", unit="bytes", total=max(content.size, 1), seconds=seconds, fixed=_LOAD_SECONDS)
    arguments = OrderSnapshot(content.backup_id, divider.host_name if divider else None, is_shared)
    return order_snapshot.sub_step(_DIVISION, work, arguments)


def _fetches(content: BackupContent) -> list[SubStepSpec]:
    """Return one sub-step for each snapshot."""
    return [
        fetch_snapshot.sub_step(
            f"Backup download. Shard {shard}",
            effort(
                f"shard {shard}", unit="bytes", total=max(size, 1), seconds=size * _FETCH_SECONDS_A_BYTE, turns=_AT_ONCE
            ),
            FetchSnapshot(content.backup_id, shard),
        )
        for shard, size in content.sizes.items()
    ]


def data_steps(shares: Sequence[tuple[Node, NodeData]], content: BackupContent) -> Steps:
    """Return the sub-steps that make and load the data of these nodes."""
    made, loaded = [], []
    for node, data in shares:
        size, named = expected_bytes(data.slots, content), f"Shard {node.shard}"
        a_byte = _MAKE_SECONDS_A_BYTE if node.host_name == EMBEDDED else _FETCH_SECONDS_A_BYTE + _MAKE_SECONDS_A_BYTE
        make = effort(node.id, unit="bytes", total=size, seconds=size * a_byte, turns=_AT_ONCE)
        made.append(make_data.sub_step(f"{DATA_PREPARATION} {named}", make, data))
        load = effort(
            node.id,
            unit="bytes",
            total=size,
            seconds=_LOAD_SECONDS + size * _LOAD_SECONDS_A_BYTE,
            fixed=_LOAD_SECONDS,
            turns=_AT_ONCE,
        )
        loaded.append(load_data.sub_step(f"{DATA_LOAD} {named}", load, data))
    return {DATA_PREPARATION: made, DATA_LOAD: loaded}


def creation_steps(topology: Topology, nodes: Sequence[Node], content: BackupContent, divider: Node | None) -> Steps:
    """Return the steps that make a new instance of a backup, of any topology and number of shards.

    :param divider: see `download_steps`.
    """
    replicas = [node for node in nodes if node.role == "replica"]
    primaries = [node for node in nodes if node.role == "primary"]
    shares = [(node, _founding(node, primaries, content)) for node in primaries]
    sizes = {node.shard: expected_bytes(data.slots, content) for node, data in shares}
    begin = {**download_steps(content, primaries, divider), **data_steps(shares, content)}
    starts = [start_node(node, founding=False) for node in replicas]
    end = {"Resource release.": [delete_step()]}
    if topology.is_cluster:
        return {
            **begin,
            "Cluster formation.": [_form(primaries)],
            "Resource request.": starts,
            "Cluster join.": [_join(nodes, replicas)] if replicas else [],
            REPLICA_SYNCHRONIZATION: [sync_step(add_replica, node, sizes[node.shard]) for node in replicas],
            POST_CHECK: [status_check()],
            **end,
        }
    formation = {**topology.formation(nodes), "Resource request.": starts}
    request = {"Resource request.": formation.pop("Resource request.")}
    copies = [sync_step(copy_data, node, sizes[node.shard]) for node in replicas]
    return {**begin, **request, REPLICA_SYNCHRONIZATION: copies, **formation, **end}


def sync_step(action: Action[Arguments], node: Node, size: int) -> SubStepSpec:
    """Return the sub-step in which a replica gets the data of its primary, of about `size` bytes. The action needs no
    other argument than the id of the node."""
    work = effort(
        f"shard {node.shard}",
        unit="bytes",
        total=size,
        seconds=_SYNC_SECONDS + size * _SYNC_SECONDS_A_BYTE,
        fixed=_SYNC_SECONDS,
        turns=_AT_ONCE,
    )
    arguments = action.decode({"node_id": node.id})
    return action.sub_step(f"{REPLICA_SYNCHRONIZATION} Shard {node.shard}", work, arguments)


def delete_step() -> SubStepSpec:
    return delete_files.sub_step("Release of files.", effort("files", seconds=_CHECK_SECONDS), NoArguments())


def _founding(node: Node, primaries: Sequence[Node], content: BackupContent) -> NodeData:
    slots = even_split([primary.id for primary in primaries])[node.id]
    return NodeData(
        backup_id=content.backup_id,
        node_id=node.id,
        slots=((slots.first, slots.last),) if len(primaries) > 1 else None,
        founding=True,
    )


def _form(primaries: Sequence[Node]) -> SubStepSpec:
    number = len(primaries)
    seconds = _FORM_SECONDS + _FORM_SECONDS_A_NODE * number
    work = effort("cluster", unit="nodes", total=number, seconds=seconds)
    return form_cluster.sub_step("Cluster formation.", work, FormCluster(tuple(node.id for node in primaries)))


def _join(nodes: Sequence[Node], replicas: Sequence[Node]) -> SubStepSpec:
    work = effort("join", unit="nodes", total=len(nodes), seconds=_FORM_SECONDS + _FORM_SECONDS_A_NODE * len(nodes))
    return join_cluster.sub_step("Cluster join.", work, JoinCluster(tuple(node.id for node in replicas)))


def keep_step(backup_id: str) -> SubStepSpec:
    """The safety backup counts as one only now: it is the last good backup then, and retention may delete the one that
    is restored, which is not needed any more."""
    return keep_backup.sub_step(SAFETY_BACKUP, effort("backup", seconds=_CHECK_SECONDS), KeepBackup(backup_id))


def halt_step(node: Node, grace: Mapping[str, float]) -> SubStepSpec:
    """Replicas of a shard stop before its primary, which then has all acknowledged writes."""
    drained = grace.get(node.id, 0.0)
    work = effort(f"shard {node.shard}", seconds=STOP_SECONDS + drained, fixed=drained)
    return halt_node.sub_step(f"Node stop. Shard {node.shard}", work, NodeArguments(node.id))


def takeover_steps(leads: Sequence[Node], hold: float) -> list[SubStepSpec]:
    ids = NodeList(tuple(node.id for node in leads))
    check = effort("instance", unit="nodes", total=len(leads), seconds=_SETTLE_SECONDS + hold, fixed=hold)
    begin = effort("instance", unit="nodes", total=len(leads), seconds=_SETTLE_SECONDS)
    return [check_data.sub_step("Data check.", check, ids), take_over.sub_step(TAKEOVER, begin, ids)]


def refill_steps(node: Node, size: int) -> list[SubStepSpec]:
    """Return the sub-steps in which a replica starts without data and gets that of its primary."""
    lane, arguments = f"shard {node.shard}", NodeArguments(node.id)
    return [
        clear_replica.sub_step(f"Former data. Shard {node.shard}", effort(lane, seconds=_CHECK_SECONDS), arguments),
        resume_node.sub_step(f"Node start. Shard {node.shard}", effort(lane, seconds=_START_SECONDS), arguments),
        sync_step(add_replica, node, size),
    ]
