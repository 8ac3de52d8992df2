"""Views of nodes outside of clusters, and files of sentinels and proxies. Pure."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachewright.model.instances import Node, has_proxy, offers_sentinels
from cachewright.model.sentinels import Sentinel
from cachewright.monitoring.cluster_findings import Answer, Record
from cachewright.monitoring.replication_findings import find_replication
from cachewright.operations.watched_roles import primary_of
from cachewright.valkey.access import Access
from cachewright.valkey.acl import HELLO_CHANNEL, SENTINEL_USER, derived_password, sentinel_rules
from cachewright.valkey.config import LISTENER, nodes_conf_behind, watched_settings
from cachewright.valkey.haproxy import differ_in_nodes, haproxy_cfg, parse_servers, server_commands
from cachewright.valkey.plain_replication import parse_view
from cachewright.valkey.sentinel import Watched, agreement, is_intact, parse_watched, sentinel_conf, watch_commands
from cachewright.valkey.single_request import Unreadable
from database_fixtures import an_instance
from standalone_node import node_at

NODES = [
    msgspec.structs.replace(node_at(port), id=letter * 40, role=role)
    for letter, port, role in (("a", 7001, "primary"), ("b", 7002, "replica"), ("c", 7003, "replica"))
]
PRIMARY, REPLICA, OTHER = NODES
SENTINEL = Sentinel(id="5" * 40, host="127.0.0.1", port=7100, secret="fleet-secret", created_at=1)


def leading(*replicas: str) -> dict[str, str]:
    return {"role": "master", **{f"slave{at}": text for at, text in enumerate(replicas)}}


def following(port: int, link: str = "up") -> dict[str, str]:
    return {"role": "slave", "master_port": str(port), "master_link_status": link}


def test_a_primary_knows_the_replicas_that_are_in_sync() -> None:
    online, syncing = "ip=127.0.0.1,port=7002,state=online,offset=1", "ip=127.0.0.1,port=7003,state=send_bulk"
    view = parse_view(PRIMARY, NODES, leading(online, syncing))
    assert (view.ok, view.is_whole, view.members.keys()) == (True, True, {PRIMARY.id, REPLICA.id})
    assert view.members[REPLICA.id].primary == PRIMARY.id


@pytest.mark.parametrize(("link", "is_ok"), [("up", True), ("down", False)])
def test_a_replica_is_ok_while_it_is_connected_to_its_primary(link: str, is_ok: bool) -> None:
    view = parse_view(REPLICA, NODES, following(PRIMARY.port, link))
    assert (view.ok, view.is_whole, view.members[REPLICA.id].primary) == (is_ok, True, PRIMARY.id)


def test_a_replica_of_a_foreign_node_has_no_whole_view() -> None:
    view = parse_view(REPLICA, NODES, following(9999))
    assert (view.is_whole, view.members[REPLICA.id].primary) == (False, "")
    with pytest.raises(Unreadable):
        parse_view(REPLICA, NODES, {"role": "sentinel"})


def found(*said: dict[str, str] | None) -> dict[str, str]:
    answers = [
        Answer(node=node, my_id=node.id if reply else None, view=parse_view(node, NODES, reply) if reply else None)
        for node, reply in zip(NODES, said, strict=True)
    ]
    return dict(find_replication(Record(nodes=NODES), answers).faults)


@pytest.mark.parametrize(
    ("said", "kinds"),
    [
        ((leading(), following(7001), following(7001)), set()),
        ((None, following(7001, "down"), leading()), {"replication"}),
        ((following(7002), following(7001), following(7001)), {"failed_primary"}),
        ((leading(), leading(), following(7001)), {"two_primaries"}),
        ((leading(), following(9999), following(7001)), {"foreign_member"}),
        ((None, None, None), {"no_answer"}),
        ((None, following(7001), following(7001)), set()),  # a node that does not answer may be the primary
    ],
)
def test_faults_of_a_replicated_instance(said: tuple[Any, ...], kinds: set[str]) -> None:
    assert found(*said).keys() == kinds


def test_a_stopped_node_is_reported() -> None:
    nodes = [PRIMARY, msgspec.structs.replace(REPLICA, should_run=False)]
    answer = Answer(node=PRIMARY, my_id=PRIMARY.id, view=parse_view(PRIMARY, nodes, leading()))
    assert find_replication(Record(nodes=nodes), [answer]).faults.keys() == {"stopped_nodes"}


def watched(port: int, epoch: int, *flags: str) -> Watched:
    return Watched(name="i", port=port, flags=frozenset({"master", *flags}), epoch=epoch, sentinels=2, replicas=1)


def test_the_newest_configuration_names_the_primary() -> None:
    agreed = agreement([watched(7001, 3), watched(7002, 4), None])
    assert (agreed.answered, agreed.port, agreed.is_known, agreed.is_moving) == (3, 7002, True, False)
    assert not agreed.is_reached  # only one of them reaches it
    assert agreement([watched(7001, 1), watched(7001, 1)]).is_reached
    assert not agreement([watched(7001, 1, "s_down"), watched(7001, 1)]).is_reached
    assert agreement([watched(7001, 1), watched(7001, 1, "failover_in_progress")]).is_moving
    assert not agreement([watched(7001, 1)]).is_known
    assert agreement([None, None]).port is None


@given(st.lists(st.one_of(st.none(), st.builds(watched, st.sampled_from([7001, 7002, 9999]), st.integers(0, 9)))))
def test_the_primary_is_named_by_sentinels_or_by_the_record(views: list[Watched | None]) -> None:
    agreed = agreement(views)
    primary = primary_of(NODES, agreed)
    assert primary is not None
    assert primary.port == agreed.port or (primary is PRIMARY and agreed.port in {None, 9999})


def test_a_row_of_a_sentinel_is_read() -> None:
    row = ["name", "i", "port", "7001", "flags", "master,s_down", "config-epoch", "7", "num-slaves", "2",
           "num-other-sentinels", "2"]  # fmt: skip
    assert parse_watched(row) == Watched(
        name="i", port=7001, flags=frozenset({"master", "s_down"}), epoch=7, sentinels=2, replicas=2
    )
    with pytest.raises(Unreadable):
        parse_watched(row[:4])


def test_a_file_of_a_sentinel_is_intact_if_every_own_line_is_there() -> None:
    text = sentinel_conf(SENTINEL)
    assert is_intact(text, SENTINEL)
    assert is_intact(text.replace("valkey.log", '"valkey.log"') + "sentinel monitor i 127.0.0.1 7001 2\n", SENTINEL)
    assert not is_intact(None, SENTINEL)
    for line in text.splitlines():
        if line != "user default off":  # Valkey writes more words into this line
            assert not is_intact(text.replace(f"{line}\n", ""), SENTINEL), line
    assert not is_intact(text, msgspec.structs.replace(SENTINEL, port=7101))
    assert SENTINEL.secret not in text


def test_internal_users_have_passwords_of_their_own_and_few_rights() -> None:
    instance = an_instance(control_secret="node-secret", seed_port=7999)
    assert has_proxy(instance, NODES)
    assert not has_proxy(msgspec.structs.replace(instance, seed_port=7002), NODES)
    commands = [word for command in watch_commands(instance.id, PRIMARY, instance.control_secret) for word in command]
    assert "node-secret" not in " ".join(commands)
    assert derived_password("node-secret", SENTINEL_USER) in commands
    assert "node-secret" not in haproxy_cfg(instance, NODES)
    rules = sentinel_rules("password")
    assert {"resetkeys", "resetchannels", f"&{HELLO_CHANNEL}", "-@all"} <= set(rules)
    assert not {"+config|set", "+config|get", "+get", "+acl|setuser", "+shutdown"} & set(rules)


def test_a_node_that_refuses_writes_since_its_start_is_not_ok() -> None:
    view = parse_view(PRIMARY, NODES, leading() | {"min_slaves_good_slaves": "0"})
    assert (view.ok, view.members[PRIMARY.id].primary) == (False, None)


NODE_SETS = st.dictionaries(st.sampled_from([node.id for node in NODES]), st.integers(7001, 7009))
SERVERS = st.dictionaries(
    st.sampled_from([*(node.id for node in NODES), "former"]), st.tuples(st.integers(7001, 7009), st.booleans())
)


@given(SERVERS, NODE_SETS)
def test_commands_make_the_servers_of_a_proxy_its_nodes(
    present: dict[str, tuple[int, bool]], wanted: dict[str, int]
) -> None:
    nodes = [msgspec.structs.replace(PRIMARY, id=node_id, port=port) for node_id, port in wanted.items()]
    servers, health = dict(present), dict.fromkeys(present, True)
    for command in server_commands(present, nodes):
        words = command.split()
        node_id = next(word for word in words if word.startswith("cache/")).removeprefix("cache/")
        if command.startswith("del"):
            assert not servers.pop(node_id)[1], "HAProxy deletes only servers that are disabled"
        elif command.startswith("add"):
            assert node_id not in servers
            servers[node_id] = (int(words[3].rpartition(":")[2]), False)
        elif command.startswith(("enable server", "disable server")):
            servers[node_id] = (servers[node_id][0], command.startswith("enable"))
            health[node_id] = True
        elif command.endswith("health down"):
            health[node_id] = False
    assert servers == {node_id: (port, True) for node_id, port in wanted.items()}
    assert not any(health[node_id] for node_id in wanted if present.get(node_id) != (wanted[node_id], True))
    assert not server_commands(servers, nodes)


def test_the_state_of_a_proxy_is_read() -> None:
    row = "2 cache 1 aaa 127.0.0.1 2 0 1 1 2 15 3 2 6 0 0 0 - 7001 - 0 0 - - 0"
    assert parse_servers(f"1\n# be_id be_name\n{row}\n\n") == {"aaa": (7001, True)}
    with pytest.raises(ValueError, match="unreadable"):
        parse_servers("1\n2 cache\n")


def test_a_proxy_is_replaced_only_if_more_than_its_nodes_changes() -> None:
    instance = an_instance(seed_port=7999)
    text = haproxy_cfg(instance, NODES)
    assert differ_in_nodes(text, haproxy_cfg(instance, NODES[:2]))
    assert not differ_in_nodes(text, haproxy_cfg(instance, NODES[:1])), "that of a single node checks nothing"
    assert not differ_in_nodes(text, haproxy_cfg(an_instance(seed_port=7998), NODES))


def test_a_proxy_checks_every_node_and_listens_at_the_address_of_the_instance() -> None:
    text = haproxy_cfg(an_instance(seed_port=7999), NODES)
    assert "bind 127.0.0.1:7999\n" in text
    assert [line.split()[1:3] for line in text.splitlines() if line.strip().startswith("server ")] == [
        [node.id, f"127.0.0.1:{node.port}"] for node in NODES
    ]


SECURED = [msgspec.structs.replace(node, tls_port=node.port + 100) for node in NODES]


def test_nodes_with_tls_are_known_by_the_port_for_it() -> None:
    primary, replica, _ = SECURED
    view = parse_view(replica, SECURED, following(7101))
    assert (view.is_whole, view.members[replica.id].primary) == (True, primary.id)
    known = parse_view(primary, SECURED, leading("ip=127.0.0.1,port=7102,state=online,offset=1"))
    assert known.members[replica.id].primary == primary.id
    monitor, _ = watch_commands("i", primary, "secret")
    assert monitor[4] == "7101"
    seen = Watched(name="i", port=7101, flags=frozenset({"master"}), epoch=1, sentinels=2, replicas=2)
    assert not seen.is_outdated(SECURED)
    assert primary_of(SECURED, agreement([msgspec.structs.replace(seen, port=7102)])) == replica


def test_a_proxy_proves_who_it_is_to_nodes_with_tls_and_knows_them_by_their_ids() -> None:
    text = haproxy_cfg(an_instance(seed_port=7999), SECURED)
    proof = "ssl check-ssl verify required ca-file nodes.pem crt identity.pem verifyhost"
    assert "tcp-check connect default\n" in text
    for node in SECURED:
        assert f"server {node.id} 127.0.0.1:{node.tls_port} {proof} {node.id} check " in text
    added = server_commands({}, SECURED[:1])[0]
    assert added.startswith(f"add server cache/{PRIMARY.id} 127.0.0.1:7101 {proof} {PRIMARY.id} check ")
    assert not any(command.startswith("add") for command in server_commands({PRIMARY.id: (7101, True)}, SECURED[:1]))


def test_a_sentinel_with_tls_has_no_port_without_it() -> None:
    secured = msgspec.structs.replace(SENTINEL, authority="key and certificate")
    lines = sentinel_conf(secured).splitlines()
    assert {"port 0", "tls-port 7100", "tls-replication yes"} <= set(lines)
    assert "key and certificate" not in " ".join(lines)
    assert is_intact(sentinel_conf(secured), secured)
    assert not is_intact(sentinel_conf(SENTINEL), secured)
    assert not is_intact(sentinel_conf(secured), SENTINEL)


def test_clients_ask_no_sentinel_of_an_instance_with_tls_between_its_nodes() -> None:
    assert offers_sentinels(an_instance(seed_port=7999), NODES)
    assert not offers_sentinels(an_instance(seed_port=7999, node_ca="key and certificate"), SECURED)


def test_a_node_of_a_cluster_follows_the_primary_before_it_by_tls_if_both_have_it() -> None:
    assert "7001@1,,tls-port=0," in nodes_conf_behind(REPLICA, PRIMARY)
    assert "7001@1,,tls-port=7101," in nodes_conf_behind(SECURED[1], SECURED[0])


AWAY = msgspec.structs.replace(SECURED[0], host_name="h2")


@pytest.mark.parametrize("node", [PRIMARY, SECURED[0], AWAY])
def test_a_node_that_cannot_close_its_port_for_peers_never_takes_over_before_it_is_admitted(node: Node) -> None:
    settings = dict(watched_settings(msgspec.structs.replace(node, access="socket"), Access("secret", None, Path())))
    is_open = node.tls_port is not None
    assert settings["replica-priority"] == (0 if is_open else 100)
    assert settings["replica-announce-port"] == node.peer_port
    assert settings["include"] == LISTENER, "clients cannot reach it either way"


def test_a_proxy_ends_tls_and_accepts_allowed_addresses_only() -> None:
    instance = an_instance(seed_port=7999, address="10.0.0.5", server_certificate="secret key")
    shop = {"group_name": "shop", "ip_list": ["10.0.0.9/24", "192.168.1.7"]}
    groups = [shop, {"group_name": "b", "ip_list": ["::1"]}]
    listed = msgspec.structs.replace(instance, attributes={"whitelist": groups, "enable_whitelist": True})
    plain = haproxy_cfg(msgspec.structs.replace(instance, server_certificate=None), NODES)
    assert "bind 10.0.0.5:7999\n" in plain
    assert "tls" not in plain
    text = haproxy_cfg(listed, NODES)
    assert "bind 10.0.0.5:7999 ssl crt tls.pem ssl-min-ver TLSv1.2\n" in text
    assert "acl allowed src 10.0.0.0/24 192.168.1.7/32 ::1/128\n" in text
    assert "secret" not in text
    off = msgspec.structs.replace(instance, attributes={"whitelist": groups})
    assert "acl" not in haproxy_cfg(off, NODES)
    assert "tcp-check" not in haproxy_cfg(instance, NODES[:1]), "a node that is busy for long has no successor"
    assert "10.0.0.5" not in haproxy_cfg(instance, NODES, is_reachable=False)
