"""Incidents of proxies that do not start, of sentinels that do not answer, and of rules that cannot be loaded."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cachewright.config import Settings
from cachewright.heartbeats import LoopHeartbeats
from cachewright.hosts.local import LocalHost
from cachewright.model.instances import Instance
from cachewright.model.sentinels import Sentinel
from cachewright.monitoring import lasting_faults
from cachewright.monitoring.failover_watch import FailoverWatch
from cachewright.monitoring.firewall_watch import FirewallWatch
from cachewright.monitoring.proxy_watch import ProxyWatch
from cachewright.operations.context import OperationContext
from cachewright.store import instances, sentinels
from cachewright.store.database import Database
from cachewright.valkey.migration.source_state import MigrationState
from cachewright.valkey.sentinel import Watched
from database_fixtures import an_instance, new_database
from sdk_calls import spec
from standalone_node import node_at

HA = an_instance(id="i", spec_code="redis.ha.xu1.large.r2.1", address="127.0.0.1", seed_port=11000)


class Faults:
    """Takes the place of `Incidents`.

    :ivar open: details by instance and kind.
    """

    def __init__(self) -> None:
        self.open: dict[tuple[str, str], str] = {}

    def report(self, instance_id: str, kind: str, detail: str) -> None:
        self.open[instance_id, kind] = detail

    def clear(self, instance_id: str, kind: str) -> None:
        self.open.pop((instance_id, kind), None)


@pytest.fixture(autouse=True)
def immediately(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lasting_faults, "_SECONDS", 0.0)


def context_of(folder: Path, *recorded: Instance, **settings: Any) -> OperationContext:
    """A context with these instances, which have two nodes each."""
    database: Database = new_database(folder)
    with database.write() as connection:
        for number, instance in enumerate(recorded):
            instances.add(connection, instance)
            for role, port in (("primary", 12000 + number), ("replica", 13000 + number)):
                node = node_at(port, port + 2000)
                made = {"id": str(port).zfill(40), "instance_id": instance.id, "role": role}
                instances.add_nodes(connection, [msgspec.structs.replace(node, **made)])
    own = Settings(data_dir=folder, **settings)
    return OperationContext(database, own, LocalHost(own), MigrationState(1))


async def test_a_proxy_that_does_not_start_is_an_incident(tmp_path: Path) -> None:
    haproxy = tmp_path / "haproxy"
    haproxy.write_text("#!/bin/sh\necho cannot bind\nexit 1\n")
    haproxy.chmod(0o700)
    faults: Any = Faults()
    watch = ProxyWatch(context_of(tmp_path, HA, haproxy_binary=haproxy), faults, LoopHeartbeats())
    await watch._round(watch._read())
    assert (watch.proxies, watch.proxies_up) == (1, 0)
    assert "cannot bind" in faults.open["i", "no_proxy"]


async def test_two_sentinels_that_do_not_answer_are_an_incident(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = context_of(tmp_path, HA)
    faults: Any = Faults()
    fleet = [Sentinel(id=c * 40, host="127.0.0.1", port=ord(c), secret="s", created_at=1) for c in "abc"]
    with context.database.write() as connection:
        sentinels.add(connection, fleet)
    watch = FailoverWatch(context, faults, LoopHeartbeats())
    view = {"i": Watched(name="i", port=12000, flags=frozenset(), epoch=0, sentinels=2, replicas=1)}
    answering: list[str] = []

    async def views(_: object) -> Mapping[str, Mapping[str, Watched]]:
        return dict.fromkeys(answering, view)

    async def nothing(*_: object) -> None:
        pass

    async def is_started(*_: object) -> bool:
        return True

    for name, stand_in in (("_views", views), ("_is_started", is_started), ("_reconcile", nothing)):
        monkeypatch.setattr(watch, name, stand_in)
    for now, detail in (("a", "1 sentinels answer"), ("ab", None), ("abc", None), ("", "0 sentinels answer")):
        answering[:] = [c * 40 for c in now]
        await watch._round(watch._read())
        assert faults.open.get(("i", "no_failover")) == detail


async def test_a_whitelist_without_rules_is_an_incident_until_it_is_off(tmp_path: Path) -> None:
    whitelist = {"enable_whitelist": True, "whitelist": [{"group_name": "shop", "ip_list": ["10.0.0.0/8"]}]}
    cluster = an_instance(id="i", spec_code=spec(1), attributes=whitelist)
    faults: Any = Faults()
    context = context_of(tmp_path, cluster)
    watch = FirewallWatch(context, faults, LoopHeartbeats())
    await watch._round()
    assert faults.open["i", "no_whitelist"] == "nftables is off: start the server with --nftables"
    with context.database.write() as connection:
        instances.change(connection, "i", attributes=whitelist | {"enable_whitelist": False})
    await watch._round()
    assert faults.open == {}
