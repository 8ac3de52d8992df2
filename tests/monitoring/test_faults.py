"""What follows for an instance's status from its faults: one place decides."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachewright.model.incidents import FaultKind
from cachewright.monitoring.faults import RULES, status_with

KINDS = st.sets(st.sampled_from(list(RULES)))
OTHERS = ("CREATING", "EXTENDING", "RESTARTING", "DELETING", "CREATEFAILED")


@given(KINDS)
def test_an_instance_with_faults_is_in_error_and_one_without_is_not(faults: set[FaultKind]) -> None:
    grave = {kind for kind in faults if RULES[kind].changes_status}
    status, code = status_with("RUNNING", None, faults)
    assert status == ("ERROR" if grave else "RUNNING")
    assert (code in {RULES[kind].code for kind in grave}) if grave else code is None
    assert status_with(status, code, faults) == (status, code)
    assert status_with(status, code, set()) == ("RUNNING", None)


@given(KINDS, st.sampled_from(OTHERS), st.sampled_from([None, "DCS.9002"]))
def test_the_status_that_a_task_set_stays(faults: set[FaultKind], status: str, code: str | None) -> None:
    assert status_with(status, code, faults) == (status, code)


@given(KINDS)
def test_an_error_that_no_fault_is_the_reason_of_stays(faults: set[FaultKind]) -> None:
    assert status_with("ERROR", "DCS.9004", faults) == ("ERROR", "DCS.9004")


@pytest.mark.parametrize(
    ("faults", "code"),
    [
        ({"uncovered_slots", "foreign_member"}, "DCS.9009"),
        ({"failed_primary", "node_start"}, "DCS.9001"),
        ({"failed_primary", "credentials_refused"}, "DCS.9011"),
    ],
)
def test_the_gravest_gives_the_code(faults: set[FaultKind], code: str) -> None:
    assert status_with("RUNNING", "DCS.9005", faults) == ("ERROR", code)
    assert status_with("ERROR", "DCS.9010", faults) == ("ERROR", code)


def test_the_code_of_a_task_that_failed_stays_without_a_fault() -> None:
    assert status_with("RUNNING", "DCS.9002", set()) == ("RUNNING", "DCS.9002")


def test_faults_that_leave_an_instance_usable_do_not_change_its_status() -> None:
    faults: set[FaultKind] = {"write_loss_risk", "unequal_nodes"}
    assert status_with("RUNNING", None, faults) == ("RUNNING", None)
    assert status_with("RUNNING", None, {*faults, "node_start"}) == ("ERROR", "DCS.9001")
    assert status_with("ERROR", "DCS.9001", faults) == ("RUNNING", None)
