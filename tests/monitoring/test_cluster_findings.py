"""What is found wrong with a cluster, from answers of its nodes alone."""

from typing import Any

import msgspec
import pytest

from cachewright.model.instances import Node
from cachewright.model.tasks import Step, SubStep, Work
from cachewright.monitoring.cluster_findings import Answer, Findings, Record, changing_nodes, find, in_both
from cachewright.valkey.config import placeholder_addresses, placeholder_primary
from cachewright.valkey.topology import View, parse_view

A, B, C = ("a" * 40, "b" * 40, "c" * 40)
STRANGER = "5" * 40
OWNED = {A: "0-8191", B: "8192-16383"}


def node(node_id: str, shard: int = 0, **changed: Any) -> Node:
    plain = {
        "id": node_id,
        "instance_id": "i",
        "shard": shard,
        "role": "primary",
        "host": "127.0.0.1",
        "port": 1,
        "bus_port": 2,
        "maxmemory": 1,
        "should_run": True,
        "created_at": 1,
    }
    return Node(**(plain | changed))  # type: ignore[arg-type]  # as given above


NODES = (node(A, 0), node(B, 1))
RECORD = Record(nodes=NODES)


def line(node_id: str, owned: str = "", flags: str = "master", primary: str = "-") -> str:
    return f"{node_id} 127.0.0.1:1@2 {flags} {primary} 0 0 1 connected {owned}"


def view(*lines: str, state: str = "ok") -> View:
    return parse_view("\n".join([*lines, ""]), f"cluster_state:{state}\r\ncluster_current_epoch:5\r\n")


def answer(known: Node, *more: str, owned: dict[str, str] | None = None, state: str = "ok") -> Answer:
    """Of a node that knows these owners, and further members."""
    owners = (OWNED if owned is None else owned).items()
    lines = [line(node_id, slots, "myself,master" if node_id == known.id else "master") for node_id, slots in owners]
    return Answer(node=known, my_id=known.id, view=view(*lines, *more, state=state))


def found(*answers: Answer, record: Record = RECORD) -> Findings:
    return find(record, answers)


def test_a_cluster_that_is_as_on_record_has_no_fault() -> None:
    findings = found(answer(NODES[0]), answer(NODES[1]))
    assert not findings.faults
    assert not any((findings.foreign, findings.forgetful, findings.captured, findings.meetings))


def test_a_member_that_is_not_on_record_is_foreign() -> None:
    findings = found(answer(NODES[0], line(STRANGER)), answer(NODES[1]))
    assert findings.faults.keys() == {"foreign_member"}
    assert STRANGER in findings.faults["foreign_member"]
    assert findings.forgetful == [(NODES[0], (STRANGER,))]


def test_slots_of_a_foreign_member_are_not_covered() -> None:
    taken = {A: "", B: "8192-16383", STRANGER: "0-8191"}
    findings = found(answer(NODES[0], owned=taken), answer(NODES[1], owned=taken))
    assert findings.faults.keys() == {"foreign_member", "uncovered_slots"}
    assert "owns slots 0-8191" in findings.faults["foreign_member"]


def test_a_member_in_its_handshake_is_nobody_yet() -> None:
    assert not found(answer(NODES[0], line(STRANGER, flags="handshake")), answer(NODES[1])).faults


def placeholder_line(of: Node, address: str = ":0@0") -> str:
    return line(placeholder_primary(of), flags="noaddr").replace("127.0.0.1:1@2", address)


def test_the_placeholder_of_a_new_node_is_accepted() -> None:
    record = msgspec.structs.replace(RECORD, changing=frozenset({A}))
    for address in (":0@0", "127.0.0.1:1@1"):
        findings = found(answer(NODES[0], placeholder_line(NODES[0], address)), answer(NODES[1]), record=record)
        assert not findings.forgetful
        assert not findings.faults


@pytest.mark.parametrize(
    ("seen_by", "changing", "address"),
    [
        (0, frozenset(), ":0@0"),
        (1, frozenset({A}), ":0@0"),
        (0, frozenset({A}), "127.0.0.1:18950@18951"),
    ],
    ids=["of a node that is not new", "in the view of another node", "at an address that somebody has"],
)
def test_any_other_member_with_the_id_of_a_placeholder_is_foreign(
    seen_by: int, changing: frozenset[str], address: str
) -> None:
    record = msgspec.structs.replace(RECORD, changing=changing)
    line_of_placeholder = placeholder_line(NODES[0], address)
    answers = [answer(node, *([line_of_placeholder] * (at == seen_by))) for at, node in enumerate(NODES)]
    findings = found(*answers, record=record)
    assert set(findings.faults) == {"foreign_member"}
    assert findings.forgetful == [(NODES[seen_by], (placeholder_primary(NODES[0]),))]


def test_a_node_that_follows_a_stranger_with_the_id_of_a_placeholder_is_captured() -> None:
    followed = placeholder_primary(NODES[0])
    lines = (line(A, flags="myself,slave", primary=followed), line(followed, "0-8191"), line(B, "8192-16383"))
    findings = found(Answer(node=NODES[0], my_id=A, view=view(*lines)), answer(NODES[1]))
    assert findings.captured == [(NODES[0], None)]


def test_a_node_that_has_left_and_owns_slots_is_reported() -> None:
    record = msgspec.structs.replace(RECORD, former=frozenset({C}))
    findings = found(answer(NODES[0], line(C, "0-100")), answer(NODES[1]), record=record)
    assert "foreign_member" in findings.faults


def test_a_node_that_has_just_left_is_forgotten_and_not_reported() -> None:
    record = msgspec.structs.replace(RECORD, former=frozenset({C}))
    findings = found(answer(NODES[0], line(C, flags="master,fail")), answer(NODES[1]), record=record)
    assert not findings.faults
    assert findings.forgetful == [(NODES[0], (C,))]


def test_a_node_that_leaves_between_its_answers_and_the_record_is_not_foreign() -> None:
    """One node still reports its slots, and the record that is read afterwards does not have it any more."""
    answers = [answer(NODES[0], line(C, "0-100")), answer(NODES[1])]
    before = found(*answers, record=Record(nodes=(*NODES, node(C, 2)), changing=frozenset({C}), idle=False))
    after = found(*answers, record=msgspec.structs.replace(RECORD, former=frozenset({C})))
    assert "foreign_member" in after.faults
    assert in_both(before, after).faults == {}
    assert in_both(before, after).forgetful == []


def test_a_node_whose_task_ends_between_its_answers_and_the_record_has_a_placeholder() -> None:
    coming = node(C, 2, role="replica")
    placeholder = placeholder_primary(coming)
    lines = [
        line(C, flags="myself,slave", primary=placeholder),
        f"{placeholder} {placeholder_addresses(coming)[0]} master - 0 0 0 connected",
    ]
    answers = [answer(NODES[0]), Answer(node=coming, my_id=C, view=view(*lines))]
    nodes = (*NODES, coming)
    before = found(*answers, record=Record(nodes=nodes, changing=frozenset({C}), idle=False))
    after = found(*answers, record=Record(nodes=nodes))
    assert after.captured
    assert after.forgetful
    assert in_both(before, after).captured == []
    assert in_both(before, after).forgetful == []


def test_a_foreign_member_before_and_after_is_reported() -> None:
    findings = found(answer(NODES[0], line(STRANGER)), answer(NODES[1]))
    assert in_both(findings, findings) == findings


def test_a_foreign_member_counts_while_a_task_runs() -> None:
    record = Record(nodes=NODES, changing=frozenset({A, B}), idle=False)
    assert found(answer(NODES[0], line(STRANGER)), record=record).faults.keys() == {"foreign_member"}


def test_what_a_task_does_is_no_fault() -> None:
    """A node that comes knows nobody, owns nothing, and nobody knows it."""
    coming = node(C, 2)
    record = Record(nodes=(*NODES, coming), changing=frozenset({C}), idle=False)
    alone = Answer(node=coming, my_id=C, view=view(line(C, flags="myself,master"), state="fail"))
    assert not found(answer(NODES[0]), answer(NODES[1]), alone, record=record).faults
    assert not found(answer(NODES[0]), answer(NODES[1]), Answer(node=coming), record=record).faults


def test_nodes_that_a_task_changes() -> None:
    def sub(number: int, action: str, status: Any = "WAITING", **arguments: Any) -> SubStep:
        work = Work(unit="x", total=1, seconds=1, lane="l")
        return SubStep(id=str(number), name="n", action=action, arguments=arguments, work=work, status=status)

    subs = (
        sub(1, "start node", node_id="a"),
        sub(2, "release node", node_id="b"),
        sub(3, "restart node", node_id="c"),
        sub(4, "restart node", "EXECUTING", node_id="d"),
        sub(5, "move slots", source="e", target="f"),
    )
    assert changing_nodes([Step(id="s", name="n", sub_steps=subs)]) == {"a", "b", "d"}


def test_each_fault_has_its_name() -> None:
    gone = {A: "0-8191", B: "8192-16000"}
    assert found(answer(NODES[0], owned=gone), answer(NODES[1])).faults.keys() == {"uncovered_slots"}
    assert found(answer(NODES[0], state="fail"), answer(NODES[1])).faults.keys() == {"cluster_state"}
    failed = Answer(
        node=NODES[0], my_id=A, view=view(line(A, OWNED[A], "myself,master"), line(B, OWNED[B], "master,fail"))
    )
    assert found(failed, Answer(node=NODES[1])).faults.keys() == {"failed_primary"}
    renamed = Answer(node=NODES[1], my_id=C, view=view(line(C, flags="myself,master")))
    assert found(answer(NODES[0]), renamed).faults.keys() == {"node_id"}
    refused = Answer(node=NODES[1], refused="WRONGPASS")
    assert found(answer(NODES[0]), refused).faults.keys() == {"credentials_refused"}
    assert found(*(Answer(node=known) for known in NODES)).faults.keys() == {"no_answer"}
    assert not found(answer(NODES[0]), Answer(node=NODES[1])).faults


def test_a_failed_primary_whose_replica_took_over_is_no_fault() -> None:
    nodes = (node(A, 0), node(C, 0, role="replica"), node(B, 1))
    lines = (line(A, "", "master,fail"), line(C, OWNED[A], "myself,master"), line(B, OWNED[B]))
    answers = (Answer(node=nodes[0]), Answer(node=nodes[1], my_id=C, view=view(*lines)))
    assert not found(*answers, record=Record(nodes=nodes)).faults


def test_members_that_do_not_know_each_other_meet() -> None:
    answers = tuple(answer(known, owned={known.id: OWNED[known.id]}) for known in NODES)
    findings = found(*answers)
    assert findings.faults.keys() == {"missing_member", "uncovered_slots"}
    assert findings.meetings == [(NODES[0], NODES[1]), (NODES[1], NODES[0])]
    assert found(*answers, record=Record(nodes=NODES, idle=False)).meetings == []


def test_a_member_whose_slots_are_anothers_now_is_not_met() -> None:
    nodes = (*NODES, node(C, 2))
    moved = {A: "0-8191", C: "8192-16383"}
    answers = (
        answer(nodes[0], owned=moved),
        answer(nodes[2], owned=moved),
        answer(nodes[1], line(A), line(C), owned={B: OWNED[B]}),
    )
    findings = found(*answers, record=Record(nodes=nodes))
    assert "missing_member" in findings.faults
    assert findings.meetings == []


def test_a_node_that_follows_a_stranger_is_captured() -> None:
    lines = (line(A, "", "myself,slave", STRANGER), line(B, OWNED[B]), line(STRANGER, OWNED[A]))
    captured = Answer(node=NODES[0], my_id=A, view=view(*lines))
    assert found(captured, answer(NODES[1])).captured == [(NODES[0], None)]
    mate = node(C, 0, role="replica")
    record = Record(nodes=(*NODES, mate))
    freed = answer(mate, line(A, "", "slave", STRANGER), owned={C: OWNED[A], B: OWNED[B]})
    assert found(captured, freed, answer(NODES[1]), record=record).captured == [(NODES[0], mate)]


def test_an_answer_of_someone_else_is_no_view() -> None:
    """It names itself as the node, and is not among its own members."""
    odd = Answer(node=NODES[0], my_id=A, view=view(line(STRANGER, "0-16383")))
    findings = found(odd, answer(NODES[1]))
    assert not findings.forgetful
