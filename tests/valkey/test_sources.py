"""Parts of migrations from outside that need no server."""

from ipaddress import ip_address, ip_network
from pathlib import Path

import msgspec
import pytest

from cachewright.errors import ApiError
from cachewright.hosts.addresses import is_source
from cachewright.jobs.migrations.figures import Figures
from cachewright.jobs.migrations.lag import LagWatch
from cachewright.jobs.migrations.quiet import Activity, is_quiet
from cachewright.jobs.migrations.throttle import Throttle
from cachewright.model.online_migrations import OnlineMigration
from cachewright.operations.online_migrations.operation import MIGRATE_ONLINE
from cachewright.valkey.slots import SlotRange
from cachewright.valkey.sources import gateway
from cachewright.valkey.sources.changed_keys import ChangedKeys
from cachewright.valkey.sources.copier import BYTES_AT_ONCE, meaning_of_refusal, needs_tls, parts
from cachewright.valkey.sources.shape import is_readable, keys_by_database
from cachewright.valkey.sources.source import SourceUnusable, split_address, without_secret
from cachewright.valkey.sources.target import TargetMap
from cachewright.valkey.topology import Member, View
from database_fixtures import an_instance
from standalone_node import node_at

OWN = [ip_address("10.0.0.9")]


def test_keys_for_a_node_with_tls_on_another_machine_are_not_sent_by_a_gateway() -> None:
    away, secured = {"host_name": "h2"}, {"tls_port": 3}
    found = [needs_tls(msgspec.structs.replace(node_at(1), **each)) for each in ({}, away, secured, away | secured)]
    assert found == [False, False, False, True]


@pytest.mark.parametrize(
    ("address", "networks", "permitted"),
    [
        ("10.0.0.7", (), True),
        ("8.8.8.8", (), True),
        ("127.0.0.1", (), False),
        ("10.0.0.9", (), False),
        ("::ffff:127.0.0.1", (), False),
        ("169.254.169.254", (), False),
        ("127.0.0.1", ("127.0.0.0/8",), True),
        ("10.0.0.9", ("10.0.0.0/8",), True),
        ("10.0.0.7", ("192.168.0.0/16",), False),
        ("169.254.169.254", ("0.0.0.0/0",), False),
    ],
)
def test_addresses_of_sources(address: str, networks: tuple[str, ...], permitted: bool) -> None:
    assert is_source(ip_address(address), tuple(map(ip_network, networks)), OWN) == permitted


@pytest.mark.parametrize(
    ("words", "meaning"),
    [
        ("ERR Target instance replied with error: MOVED 12 127.0.0.1:7000", "look again"),
        ("ERR Target instance replied with error: READONLY You can't write", "look again"),
        ("ERR Target instance replied with error: LOADING Valkey is loading", "look again"),
        ("ERR Target instance replied with error: MISCONF Errors writing to the AOF file", "look again"),
        ("ERR Target instance replied with error: OOM command not allowed", "memory"),
        ("ERR Target instance replied with error: ERR Bad data format", "final"),
        ("ERR Target instance replied with error: WRONGPASS invalid", "final"),
        ("IOERR error or timeout reading to target instance", "look again"),
        ("MOVED 12 127.0.0.1:7000", "look again"),
    ],
)
def test_refused_copies(words: str, meaning: str) -> None:
    assert meaning_of_refusal(words) == meaning


def test_keys_are_copied_in_parts_of_limited_size() -> None:
    keys = [b"a", b"b", b"c", b"d"]
    assert list(parts(keys, [1, BYTES_AT_ONCE, 2, 3])) == [[b"a"], [b"b"], [b"c", b"d"]]
    assert list(parts(keys, [0, 0, 0, 0])) == [keys]
    assert list(parts([], [])) == []


def test_changed_keys_are_taken_once_and_their_memory_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    changed = ChangedKeys()
    changed.add([b"a", b"b", b"a", b"c"])
    assert (changed.take(2), len(changed)) == ([b"a", b"b"], 1)
    monkeypatch.setattr("cachewright.valkey.sources.changed_keys.MOST_BYTES", 640)
    changed.add([b"12345", b"6789"])
    assert (len(changed), changed.was_flushed) == (3, False)
    changed.add([b"0"])
    assert (len(changed), changed.was_flushed) == (0, True)  # now all keys are copied again
    changed.forget_flush()
    changed.add([b"1234567890"])
    assert (changed.take(5), changed.was_flushed) == ([b"1234567890"], False)


def test_versions_of_sources() -> None:
    assert [is_readable(version) for version in ("2.8.24", "6.2.14", "7.2.4", "7.4.0", "8.0.1")] == [
        True, True, True, False, False,
    ]  # fmt: skip


def test_addresses_and_words_of_a_source() -> None:
    assert split_address(" cache.example:6379 ") == ("cache.example", 6379)
    assert split_address("[::1]:6379") == ("::1", 6379)
    for text in ("6379", "host:", "host:0", "host:70000", "host:x"):
        with pytest.raises(SourceUnusable):
            split_address(text)
    words = "ERR unknown command 'AUTH', with args beginning with: 'secret'"
    assert "secret" not in without_secret(words, "secret")
    assert without_secret("WRONGPASS", None) == "WRONGPASS"
    long = "".join(f"{number:03}" for number in range(100))
    assert long[:8] not in without_secret(f"ERR unknown command 'AUTH', with args beginning with: '{long[:128]}'", long)
    assert keys_by_database({"db0": "keys=3,expires=1", "db12": "keys=4", "dbsize": "1"}) == {0: 3, 12: 4}


def test_the_lag_is_the_age_of_the_oldest_state_that_is_not_copied() -> None:
    watch = LagWatch()
    assert watch.see(1.0, 100, 100, 0).seconds == 0
    lag = watch.see(2.0, 200, 100, 5)
    assert (lag.size, lag.keys, lag.seconds) == (100, 5, 1.0)  # the state of the time 1.0 is complete
    assert watch.see(3.0, 300, 200, 5000).seconds == 1.0
    assert watch.see(4.0, 300, 300, 0).seconds == 0
    assert not watch.is_ready
    for moment in range(5, 9):
        watch.see(float(moment), 300, 300, 0)
    assert watch.is_ready
    watch.see(9.0, 5_000_000, 300, 0)
    assert not watch.is_ready


def test_the_bandwidth_limit() -> None:
    throttle = Throttle(1)  # a megabyte per second, and one second of it at the begin
    assert throttle.pause(0.0, 5_000_000) == 0
    assert throttle.pause(0.0, 6_000_000) == 0
    assert throttle.pause(0.0, 8_000_000) == pytest.approx(2.0)
    assert throttle.pause(2.0, 8_000_000) == pytest.approx(0.0)
    assert throttle.pause(3.0, 1_000) == 0  # a node has restarted
    assert throttle.pause(100.0, 1_000) == 0
    assert throttle.pause(100.0, 2_001_000) == pytest.approx(1.0)


def test_figures_are_read_from_a_detail() -> None:
    figures = Figures(
        lag_bytes=1, lag_keys=2, lag_seconds=0.5, offset=3, source_keys=4, target_keys=5, target_kbps=6, target_ops=7,
        ready=1,
    )  # fmt: skip
    assert Figures.of_detail(figures.detail) == figures
    assert Figures.of_detail(figures.detail[:-1] + ",status:waiting for the cut-over}") == figures
    assert Figures.of_detail("") is None
    assert Figures.of_detail("a source that fails: with, commas") is None


def test_owners_of_keys() -> None:
    first, second = node_at(1), msgspec.structs.replace(node_at(2), id="a" * 40)

    def member(node_id: str, *slots: SlotRange) -> Member:
        return Member(id=node_id, address="h:1@2", flags=frozenset(), primary=None, linked=True, slots=slots)

    half = View(ok=True, epoch=1, members={first.id: member(first.id, SlotRange(0, 8191))})
    assert TargetMap.of([first, second], half) is None
    members = {**half.members, second.id: member(second.id, SlotRange(8192, 16383))}
    found = TargetMap.of([first, second], View(ok=True, epoch=1, members=members))
    assert found is not None
    assert found.by_node([b"foo", b"bar", b"{bar}2"]) == {second: [b"foo"], first: [b"bar", b"{bar}2"]}


def test_a_gateway_has_no_port_and_its_memory_is_that_of_its_source() -> None:
    lines = gateway.gateway_conf(gateway.Gateway("m.0", "secret", Path())).splitlines()
    assert {"port 0", "appendonly no", "repl-backlog-size 1048576", "sanitize-dump-payload yes"} <= set(lines)
    assert "secret" not in " ".join(lines)


def test_complaints_of_a_gateway() -> None:
    log = (
        "1:S 26 Nov 2026 19:00:00.000 * Connecting to PRIMARY 10.0.0.7:6379\n"
        "1:S 26 Nov 2026 19:00:00.001 # Unable to AUTH to PRIMARY: -WRONGPASS invalid\n"
        "1:S 26 Nov 2026 19:00:01.000 * Connecting to PRIMARY 10.0.0.7:6379\n"
    )
    assert gateway.complaint(log) == "Unable to AUTH to PRIMARY: -WRONGPASS invalid"
    assert not gateway.is_final("Unable to AUTH to PRIMARY: -WRONGPASS invalid")
    assert gateway.is_final("Can't handle RDB format version 12")
    assert gateway.complaint("1:S 26 Nov 2026 19:00:00.000 * Done\n") is None


def activity(writes: int, removals: int, removed: int, run: str = "a") -> Activity:
    return Activity(run=run, writes=writes, removals=removals, removed=removed)


@pytest.mark.parametrize(
    ("after", "quiet"),
    [
        (activity(5, 10, 20), True),
        (activity(5, 13, 23), True),  # three keys have expired
        (activity(5, 13, 22), False),  # a client has deleted one
        (activity(6, 10, 20), False),
        (activity(5, 10, 20, run="b"), False),
    ],
)
def test_expiries_are_no_writes(after: Activity, quiet: bool) -> None:
    assert is_quiet(activity(5, 10, 20), after) == quiet


def test_a_gateway_counts_the_writes_of_its_source() -> None:
    calls = {"set": 3, "xack": 2, "xgroup|create": 1, "function|load": 1, "swapdb": 1, "del": 4, "unlink": 1, "hdel": 2}
    others = {"info": 9, "function|list": 9, "config|set": 9, "ping": 9, "multi": 9, "exec": 9, "client|tracking": 9}
    said = {f"cmdstat_{name}": f"calls={count},usec=1" for name, count in {**calls, **others}.items()}
    found = gateway.parse_state({"role": "slave", "run_id": "a", "loading": "0", **said})
    assert (found.writes, found.removals, found.swaps, found.is_loading) == (8, 7, 1, False)


def test_nodes_that_accept_tls_alone_get_no_migration() -> None:
    wanted = OnlineMigration(id="m", project_id="p", name="move", description="", created_at=1, updated_at=1)
    secured = msgspec.structs.replace(node_at(1), client_tls=True)
    with pytest.raises(ApiError) as refused:
        MIGRATE_ONLINE.validate(an_instance(), [node_at(2), secured], wanted)
    assert refused.value.code == "DCS.4062"
    assert MIGRATE_ONLINE.validate(an_instance(), [node_at(2)], wanted).params.migration_id == "m"
