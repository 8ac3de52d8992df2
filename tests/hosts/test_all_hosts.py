"""Which machines a server reaches, with and without the claim to perform tasks."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from cachewright.config import Settings
from cachewright.errors import DatabaseUnavailable
from cachewright.hosts.all_hosts import AllHosts
from cachewright.hosts.host import CONFIG
from cachewright.hosts.local import LocalHost
from cachewright.hosts.remote import HostCalls
from cachewright.model.hosts import EMBEDDED, HostRecord
from cachewright.model.sentinels import Sentinel
from cachewright.store import hosts, instances, sentinels
from claim_of_server import RefusingClaim, elsewhere
from database_fixtures import a_report, an_instance, new_database
from standalone_node import node_at


class Claim(RefusingClaim):
    is_held = True
    epoch = 1

    def lost(self) -> None: ...

    def stop(self) -> None: ...


@pytest.fixture
def claim() -> Claim:
    return Claim()


@pytest.fixture
def machines(tmp_path: Path, claim: Claim) -> Iterator[AllHosts]:
    database = new_database(tmp_path)
    local = node_at(10001)
    with database.write() as connection:
        hosts.add(connection, HostRecord(name="h2", address="127.0.0.2", zone="z", state="active", created_at=1))
        instances.add(connection, an_instance())
        instances.add_nodes(
            connection, [local, msgspec.structs.replace(elsewhere(local), id="c" * 40, port=10002, bus_port=2)]
        )
    database.claim = claim
    yield AllHosts(LocalHost(Settings(data_dir=tmp_path)), database, HostCalls(database, "v"))
    database.close()


async def test_nodes_of_this_machine_need_no_claim(machines: AllHosts, claim: Claim) -> None:
    claim.refusals = 1
    assert not await machines.is_running("b" * 40)
    assert claim.refusals == 1
    with pytest.raises(DatabaseUnavailable):
        await machines.is_running("c" * 40)


def test_a_server_that_performs_no_tasks_places_no_node_on_its_machine(
    machines: AllHosts, claim: Claim, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hosts, "clock_offset", lambda _: 0.0)  # SQLite has no clock
    assert EMBEDDED in machines.measured()
    claim.is_held = False
    assert EMBEDDED not in machines.measured()


async def test_what_an_agent_says_of_nodes_of_other_hosts_has_no_effect(
    machines: AllHosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hosts, "clock_offset", lambda _: 0.0)  # SQLite has no clock
    own, of_server, unknown = "c" * 40, "b" * 40, "d" * 40
    names = (own, of_server, unknown)
    report = a_report(processes=dict.fromkeys(names, (7, 1000.0)), configured=names)
    with machines._database.write() as connection:
        hosts.saw(connection, "h2", "127.0.0.2", report)
    assert set(await machines.processes()) == {own}
    assert await machines.with_file(CONFIG) == {own}


async def test_the_last_report_of_a_lost_host_names_no_sentinel_that_runs_elsewhere_now(
    machines: AllHosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hosts, "clock_offset", lambda _: 0.0)  # SQLite has no clock
    one = Sentinel(id="e" * 40, host="127.0.0.2", port=3, secret="", created_at=1, host_name="h2")
    moved = msgspec.structs.replace(one, id="f" * 40, host_name="h3", host="127.0.0.3")
    running = dict.fromkeys((one.id, moved.id), (7, 1000.0))
    report = a_report(sentinels=running)
    with machines._database.write() as connection:
        hosts.saw(connection, "h2", "127.0.0.2", report)
        sentinels.add(connection, [one, moved])
    assert set(await machines.sentinels.processes()) == {one.id}
