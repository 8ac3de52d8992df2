"""On which hosts the sentinels run, and when they move."""

from collections import Counter
from collections.abc import Mapping

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachewright.model.hosts import HostRecord, HostReport, HostState
from cachewright.model.sentinels import FLEET, Sentinel
from cachewright.operations.sentinel_places import sentinel_hosts
from cachewright.placement.sentinels import SentinelHost, SentinelMove, first_hosts, next_move

NAMES = ["local", "h2", "h3", "h4"]
ADDRESS = "10.0.0.1"
STATES: list[HostState] = ["active", "cordoned", "draining", "lost"]


def host(name: str, state: HostState = "active", *, reports: bool = True, is_away: bool = False) -> SentinelHost:
    address = f"10.0.0.{NAMES.index(name) + 1}"
    return SentinelHost(name=name, address=address, state=state, reports=reports, is_away=is_away)


def by_name(*hosts: SentinelHost) -> dict[str, SentinelHost]:
    return {each.name: each for each in hosts}


def fleet(*names: str) -> list[Sentinel]:
    return [
        Sentinel(
            id=f"s{number}",
            host=f"10.0.0.{NAMES.index(name) + 1}",
            port=number,
            secret="",
            created_at=1,
            host_name=name,
        )
        for number, name in enumerate(names)
    ]


def moved(sentinels: list[Sentinel], move: SentinelMove) -> list[Sentinel]:
    address = f"10.0.0.{NAMES.index(move.to) + 1}"
    return [
        msgspec.structs.replace(each, host_name=move.to, host=address) if each == move.sentinel else each
        for each in sentinels
    ]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["local"], ["local", "local", "local"]),
        (["h2", "local"], ["local", "h2", "local"]),
        (["h2", "local", "h3", "h4"], ["local", "h2", "h3"]),
        ([], ["local", "local", "local"]),
    ],
    ids=["one", "two", "four", "none"],
)
def test_new_sentinels_are_on_different_hosts(names: list[str], expected: list[str]) -> None:
    assert first_hosts([host(name) for name in names], ADDRESS, FLEET) == expected


def test_hosts_that_do_not_reach_that_of_the_server_get_no_sentinel() -> None:
    away = [msgspec.structs.replace(host("h2"), address="127.0.0.2"), msgspec.structs.replace(host("h3"), address="")]
    away.append(msgspec.structs.replace(host("h4"), runs_sentinels=False))
    assert first_hosts([host("local"), *away], ADDRESS, FLEET) == ["local"] * 3
    assert next_move(fleet("local", "local", "local"), by_name(host("local"), *away), ADDRESS, {"s0", "s1"}) is None


def test_a_new_host_gets_a_sentinel() -> None:
    hosts = by_name(host("local"), host("h2"))
    due = next_move(fleet("local", "local", "local"), hosts, ADDRESS, {"s0", "s1", "s2"})
    assert due is not None
    assert (due.sentinel.id, due.to) == ("s2", "h2")
    assert next_move(fleet("local", "local", "h2"), hosts, ADDRESS, {"s0", "s1", "s2"}) is None


def test_sentinels_return_while_only_those_of_the_server_reach_all_nodes() -> None:
    others = [msgspec.structs.replace(host(name), runs_sentinels=False) for name in ("h2", "h3")]
    hosts, sentinels, every = by_name(host("local"), *others), fleet("local", "h2", "h3"), {"s0", "s1", "s2"}
    for _ in range(2):
        due = next_move(sentinels, hosts, ADDRESS, every)
        assert due is not None
        assert due.to == "local"
        sentinels = moved(sentinels, due)
    assert next_move(sentinels, hosts, ADDRESS, every) is None


def test_sentinels_of_a_server_that_got_another_address_stay_together() -> None:
    former = [msgspec.structs.replace(each, host="127.0.0.1") for each in fleet("local", "local", "local")]
    assert next_move(former, by_name(host("local"), host("h2")), ADDRESS, {"s0", "s1", "s2"}) is None


@pytest.mark.parametrize(
    ("third", "answers", "leaves"),
    [
        (host("h3", "draining"), True, True),
        (host("h3", "draining", reports=False), True, False),
        (host("h3", "cordoned"), True, False),
        (host("h3", reports=False), False, False),
        (host("h3", reports=False, is_away=True), False, True),
        (host("h3", reports=False, is_away=True), True, False),
        (host("h3", "lost", reports=False), False, True),
        (host("h3", "lost", reports=False), True, False),
        (msgspec.structs.replace(host("h3"), address="10.0.0.9"), False, True),
        (None, False, True),
    ],
    ids=[
        "drained",
        "agent away",
        "cordoned",
        "silent",
        "away",
        "reached",
        "lost",
        "runs",
        "another address",
        "removed",
    ],
)
def test_a_sentinel_leaves_a_host_that_is_drained_or_gone(
    third: SentinelHost | None, *, answers: bool, leaves: bool
) -> None:
    hosts = by_name(host("local"), host("h2"), host("h4"), *([third] if third else []))
    answering = {"s0", "s1", *(["s2"] if answers else [])}
    due = next_move(fleet("local", "h2", "h3"), hosts, ADDRESS, answering)
    assert (due and (due.sentinel.id, due.to)) == (("s2", "h4") if leaves else None)


@pytest.mark.parametrize(
    ("second", "third", "leaves"),
    [
        (host("h2", reports=False, is_away=True), host("h3", reports=False, is_away=True), False),
        (host("h2", reports=False), host("h3", reports=False, is_away=True), False),
        (host("h2", "lost", reports=False), host("h3", reports=False, is_away=True), True),
        (host("h2"), host("h3", reports=False, is_away=True), False),
        (msgspec.structs.replace(host("h2"), address="10.0.0.9"), host("h3", reports=False), True),
        (host("h2", "draining"), host("h3", reports=False, is_away=True), True),
    ],
    ids=["both away", "one not for long", "one given up", "one starts again", "another address", "drained"],
)
def test_sentinels_that_may_be_a_majority_elsewhere_are_not_made_again(
    second: SentinelHost, third: SentinelHost, *, leaves: bool
) -> None:
    """Only one answers the server: the two others may perform failovers on the other side of a broken network."""
    hosts = by_name(host("local"), second, third, host("h4"))
    due = next_move(fleet("local", "h2", "h3"), hosts, ADDRESS, {"s0"})
    assert (due and (due.sentinel.id, due.to)) == (("s1", "h4") if leaves else None)


def test_a_sentinel_of_the_former_machine_of_the_server_needs_the_majority() -> None:
    hosts = by_name(msgspec.structs.replace(host("local"), address="10.0.0.9"), host("h2"), host("h3"), host("h4"))
    due = next_move(fleet("local", "h2", "h3"), hosts, ADDRESS, {"s1", "s2"})
    assert due is not None
    assert due.sentinel.id == "s0"
    assert next_move(fleet("local", "h2", "h3"), hosts, ADDRESS, {"s1"}) is None


def test_a_crowded_sentinel_that_does_not_answer_stays() -> None:
    hosts = by_name(host("local"), host("h2", reports=False), host("h3"))
    assert next_move(fleet("local", "h2", "h2"), hosts, ADDRESS, {"s0"}) is None
    assert next_move(fleet("local", "h2", "h2"), hosts, ADDRESS, {"s0", "s1"}) is not None


REPORT = HostReport(release="1", cpus=1, memory=1, memory_free=1, disk_free=1, runs_sentinels=True)


@pytest.mark.parametrize("tls", [False, True])
def test_sentinels_with_tls_run_on_hosts_with_tls_alone(tls: bool) -> None:
    reports = {"local": None, "h2": REPORT, "h3": msgspec.structs.replace(REPORT, tls=True)}
    records = [
        HostRecord(
            name=name,
            address=f"10.0.0.{number}",
            zone="local",
            state="active",
            created_at=1,
            report=report,
        )
        for number, (name, report) in enumerate(reports.items(), start=1)
    ]
    found = sentinel_hosts(records, ADDRESS, reports.keys(), tls=tls, together=False)
    able = {name for name, each in found.items() if each.runs_sentinels}
    assert able == ({"h3"} if tls else {"local", "h2", "h3"})
    assert next_move(fleet("h2"), found, ADDRESS, {"s0"}) == (SentinelMove(*fleet("h2"), "h3") if tls else None)


@given(
    st.lists(st.sampled_from(NAMES), min_size=FLEET, max_size=FLEET),
    st.dictionaries(st.sampled_from(NAMES), st.tuples(st.sampled_from(STATES), st.booleans(), st.booleans())),
    st.sets(st.sampled_from(["s0", "s1", "s2"])),
)
def test_moves_end_and_leave_the_sentinels_on_as_many_hosts_as_there_are(
    names: list[str], states: Mapping[str, tuple[HostState, bool, bool]], answering: set[str]
) -> None:
    hosts = by_name(
        *(host(name, state, reports=reports, is_away=away) for name, (state, reports, away) in states.items())
    )
    sentinels = fleet(*names)
    for _ in range(2 * FLEET):
        due = next_move(sentinels, hosts, ADDRESS, answering)
        if due is None:
            break
        assert hosts[due.to].state == "active"
        assert hosts[due.to].reports
        sentinels = moved(sentinels, due)
        answering = answering | {due.sentinel.id}
    assert next_move(sentinels, hosts, ADDRESS, answering) is None
    used = Counter(each.host_name for each in sentinels)
    taking = [name for name, each in hosts.items() if each.state == "active" and each.reports]
    if {each.id for each in sentinels} <= answering:  # others may stay where they are
        assert not taking or max(used.values()) == 1 or all(used[name] for name in taking)
