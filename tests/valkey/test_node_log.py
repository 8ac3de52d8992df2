"""Warnings in logs, with real log lines of nodes."""

from datetime import datetime

import pytest

from cachewright.valkey.migration.jobs import Job
from cachewright.valkey.node_log import confirmed, write_loss_warnings
from cachewright.valkey.slots import SlotRange

JOB, TARGET, SOURCE = "f215d9476870ae4c487cd6451148fe40e3f9f94e", "b9398e5e0e49b3fdf0eabfb75a95ca189309733c", "a" * 40
NAMED = f"{{name: {JOB}, operation: export, target_node_id: {TARGET}, slots: 0-5460 6000-6000}}"
LINES = f"""\
27208:M 26 Nov 2026 09:00:53.901 # Missing implement of connection type tls
27208:M 26 Nov 2026 09:00:59.203 # Write loss risk! During slot migration {NAMED}, new owner did not broadcast \
ownership before we unpaused ourselves. Any writes we have recorded since unpausing may be lost!
27208:M 26 Nov 2026 09:00:59.204 # Slot migration {NAMED} finished. State: failed, Message: Unpaused before migration \
completed (migration may have succeeded with lost writes)
27208:M 26 Nov 2026 09:01:03.000 # Slot migration {NAMED} finished. State: failed, Message: Connection lost to target
""".splitlines()

NOW = int(datetime(2026, 11, 27).astimezone().timestamp() * 1000)
MESSAGE = "Unpaused before migration completed (migration may have succeeded with lost writes)"


def test_both_lines_about_one_job_are_one_warning() -> None:
    (warning,) = write_loss_warnings(LINES, NOW)
    assert (warning.job, warning.target) == (JOB, TARGET)
    assert warning.slots == (SlotRange(0, 5460), SlotRange(6000, 6000))
    assert warning.at == int(datetime(2026, 11, 26, 9, 0, 59, 203_000).astimezone().timestamp() * 1000)
    described = warning.described(SOURCE)
    assert SOURCE in described
    assert TARGET in described
    assert "0-5460, 6000-6000" in described


def test_either_line_is_enough() -> None:
    assert write_loss_warnings(LINES[2:], NOW) == write_loss_warnings(LINES[2:3], NOW)
    assert len(write_loss_warnings(LINES[2:], NOW)) == 1


def test_other_lines_and_fragments_are_no_warnings() -> None:
    assert (
        write_loss_warnings([*LINES[:1], *LINES[3:], "", "Write loss risk!", LINES[1][:80], LINES[1][20:]], NOW) == []
    )


@pytest.mark.parametrize("date", ["99 Xyz 2026", "31 Feb 2026", "31 Dec 9999", "28 Nov 2026"])
def test_a_line_with_an_impossible_or_future_date_is_no_warning(date: str) -> None:
    assert write_loss_warnings([LINES[1].replace("26 Nov 2026", date)], NOW) == []


def test_lines_that_take_long_to_parse_are_no_warnings() -> None:
    long = LINES[1].replace("0-5460", "9" * 5000)
    many = LINES[1].replace("During", f"{{name: {JOB}, " * 1000)
    assert write_loss_warnings([long, many], NOW) == []
    assert write_loss_warnings([LINES[1].replace("0-5460", "9" * 600)], NOW)


def job(name: str = JOB, operation: str = "EXPORT", message: str = MESSAGE) -> Job:
    return Job(name=name, operation=operation, slot_ranges="7-9", target_node="b" * 40, state="failed", message=message)


def test_a_job_confirms_a_warning_and_gives_its_slots_and_target() -> None:
    (warning,) = confirmed(write_loss_warnings(LINES, NOW), [job("c" * 40), job()])
    assert (warning.job, warning.target, warning.slots) == (JOB, "b" * 40, (SlotRange(7, 9),))


def test_other_jobs_do_not_confirm_a_warning() -> None:
    others = [job("c" * 40), job(operation="IMPORT"), job(message=""), job(message="Connection lost to target")]
    for other in others:
        assert confirmed(write_loss_warnings(LINES, NOW), [other]) == []
