"""What is wrong with a primary/standby instance: its nodes' answers compared with the record. Pure."""

from collections.abc import Iterator, Sequence

from cachewright.model.incidents import FaultKind
from cachewright.model.instances import Node
from cachewright.monitoring.cluster_findings import Answer, Findings, Record, listed, of_answers, stopped
from cachewright.valkey.topology import View


def find_replication(record: Record, answers: Sequence[Answer]) -> Findings:
    """Compare the answers of all nodes of the record with the record. Sentinel corrects the roles; this reports what
    stays wrong."""
    steady_ids = {node.id for node in record.steady}
    steady = [(answer.node, answer.view) for answer in answers if answer.view and answer.node.id in steady_ids]
    complete = len(steady) == len(record.nodes)
    return Findings(
        faults=dict([*stopped(record), *of_answers(record, answers), *_faults(steady, complete=complete)]),
        foreign={},
        forgetful=[],
        captured=[],
        meetings=[],
    )


def _faults(steady: Sequence[tuple[Node, View]], *, complete: bool) -> Iterator[tuple[FaultKind, str]]:
    """Yield the faults. `complete`: every node of the instance has answered and is not being changed."""
    followed = {node.id: view.members[node.id].primary for node, view in steady}
    leads = sorted(node_id for node_id, primary in followed.items() if primary is None)
    if complete and not leads:
        yield "failed_primary", "no node is the primary"
    if len(leads) > 1:
        yield "two_primaries", f"nodes {' and '.join(leads)} are primaries"
    if stolen := sorted(node_id for node_id, primary in followed.items() if primary == ""):
        yield "foreign_member", listed(f"node {node_id} replicates from a foreign node" for node_id in stolen)
    if apart := [node for node, view in steady if followed[node.id] is not None and not view.ok]:
        yield "replication", listed(f"replica {node.id} has no connection to its primary" for node in apart)
