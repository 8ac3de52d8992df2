"""Slow logs and connections of clients: what is refused, and what the audit log records."""

from typing import Any

import msgspec
import pytest
from tenants import Tenant

from cachewright.api.schemas.diagnosis import ClientsQuery, SlowLogList, SlowLogQuery, client_list, slow_log_list
from cachewright.services.diagnosis import SlowLogs
from cachewright.store import instances, tasks
from cachewright.valkey.client_list import _parse
from cachewright.valkey.single_request import Unreadable
from cachewright.valkey.slow_log import parse

PERIOD = "start_time=1000&end_time=2000"
NODE = "a" * 40
NUMBERS = ("age", "idle", "sub", "psub", "multi", "qbuf", "qbuf-free", "obl", "oll", "omem", "db", "fd")


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("end_time=2000", "DCS.4062"),
        ("start_time=1000", "DCS.4062"),
        ("start_time=x&end_time=2000", "DCS.4062"),
        ("start_time=2000&end_time=1000", "DCS.4025"),
        (f"{PERIOD}&sort_key=command", "DCS.4062"),
        (f"{PERIOD}&sort_dir=up", "DCS.4062"),
        (f"{PERIOD}&role=master", "DCS.4062"),
        (f"{PERIOD}&limit=0", "DCS.4062"),
    ],
)
def test_an_invalid_query_of_slow_commands_is_refused(tenant: Tenant, query: str, code: str) -> None:
    assert tenant.call("GET", f"instances/{tenant.instance()}/slowlog", query=query).refusal == (400, code)


@pytest.mark.parametrize(
    ("path", "body", "code"),
    [
        ("clients", {}, "DCS.4062"),
        ("clients", {"node_id": NODE}, "DCS.3053"),
        ("clients/kill", {"node_id": NODE, "client_addrs": ["10.0.0.1:1"]}, "DCS.3053"),
        ("clients/kill", {"node_id": NODE}, "DCS.4062"),
        ("clients/kill", {"client_addrs": []}, "DCS.4062"),
        ("clients/kill", {"client_addrs": [1]}, "DCS.4062"),
        ("clients/kill-all", {"node_id": NODE}, "DCS.3053"),
        ("clients/kill-all", {}, "DCS.4062"),
    ],
)
def test_an_invalid_request_closes_nothing(tenant: Tenant, path: str, body: Any, code: str) -> None:
    here = tenant.instance()
    assert tenant.call("POST", f"instances/{here}/{path}", body).refusal == (400, code)
    with tenant.site.database.read() as connection:
        assert tasks.unfinished_of(connection, here) == []


def test_a_list_needs_a_node_that_answers(tenant: Tenant) -> None:
    here = tenant.instance()
    with tenant.site.database.read() as connection:
        node = instances.nodes_of(connection, here)[0]
    path = f"instances/{here}/clients"
    assert tenant.call("GET", path, query=f"node_id={node.id}").refusal == (400, "DCS.4049")
    assert tenant.call("GET", path).refusal == (400, "DCS.4062")
    assert tenant.call("GET", path, query=f"node_id={node.id}&sort=secret").refusal == (400, "DCS.4062")
    assert tenant.call("GET", f"instances/{here}/slowlog", query=PERIOD).refusal == (400, "DCS.4049")
    kill = {"node_id": node.id, "client_addrs": ["10.0.0.1:1"]}
    assert tenant.call("POST", f"{path}/kill", kill).refusal == (400, "DCS.4049")


def test_only_operators_of_the_project_look_and_close_and_the_audit_log_has_it(tenant: Tenant, new_tenant: Any) -> None:
    here = tenant.instance()
    calls = (
        ("GET", "slowlog", PERIOD, b""),
        ("GET", "clients", f"node_id={NODE}", b""),
        ("POST", "clients", "", {"node_id": NODE}),
        ("POST", "clients/kill", "", {"client_addrs": ["10.0.0.1:1"]}),
        ("POST", "clients/kill-all", "", {"kill_all_nodes": True}),
    )
    viewer, stranger = tenant.colleague("viewer"), new_tenant()
    for method, path, query, body in calls:
        where = f"instances/{here}/{path}"
        assert viewer.call(method, where, body, query=query).refusal == (403, "DCS.2007")
        assert stranger.call(method, where, body, query=query).refusal == (404, "DCS.3022")
    assert tenant.call("POST", f"instances/{here}/clients/kill-all", {"kill_all_nodes": True}).status == 200
    entries = tenant.call("GET", "audit").json["entries"]
    recorded = {(entry["action"], entry["path"].rpartition("/")[2], entry["status"]) for entry in entries}
    assert ("dcs:instance:closeClients", "kill-all", 200) in recorded
    assert ("dcs:instance:closeClients", "kill", 403) in recorded


def test_replies_of_nodes_become_lists(tenant: Tenant) -> None:
    here = tenant.instance()
    with tenant.site.database.read() as connection:
        nodes = instances.nodes_of(connection, here)
    entry = [7, 1700000000, 12345, ["SET", "k", "... (9 more bytes)"], "[::1]:5000", "app"]
    own = [8, 1700000001, 20000, ["EVAL_RO", "..."], "/nodes/x/valkey.sock:0", "cachewright"]
    by_tcp = [9, 1700000002, 20000, ["EVAL_RO", "..."], "10.0.0.9:5000", "cachewright"]
    log = parse([[by_tcp, own, entry], ["slave", "127.0.0.1", 1, "connected", 0]])

    def listed() -> SlowLogList:
        found = SlowLogs(instance=tenant.stored(here), nodes=nodes, logs={nodes[0].id: log})
        return slow_log_list(found, SlowLogQuery(start_time=0, end_time=2**53))

    nodes[0] = msgspec.structs.replace(nodes[0], access="socket")
    shown = listed()
    assert [(item.client_ip, item.username) for item in shown.slowlogs] == [
        ("10.0.0.9", None), (None, "cachewright"), ("::1", None),
    ]  # fmt: skip
    last = shown.slowlogs[2]
    nodes[0] = msgspec.structs.replace(nodes[0], host_name="another")
    assert [item.username for item in listed().slowlogs] == ["cachewright", "cachewright", None]
    assert (last.command, last.duration, last.node_role) == ("SET k ... (9 more bytes)", "12.345", "slave")
    assert (last.start_time, shown.silent_nodes) == ("2023-11-14T22:13:20Z", [node.id for node in nodes[1:]])
    for malformed in ([], ["x", "y"], [[[1]], ["master"]], [[], ["sentinel"]]):
        with pytest.raises(Unreadable):
            parse(malformed)

    rows = _parse(
        "id=20 addr=10.0.0.1:5 laddr=10.0.0.9:1 fd=9 name= age=7 idle=1 flags=N db=0 qbuf-free=3 cmd=get user=default\n"
        "id=3 addr=10.0.0.2:5 laddr=10.0.0.9:1 fd=8 name=app age=9 idle=0 flags=N db=0 cmd=get user=reports\n"
        "id=4 addr=10.0.0.3:5 fd=7 name= age=9 idle=0 flags=S db=0 cmd=replconf user=cachewright\n"
        "id=5 addr=/nodes/x/valkey.sock:0 fd=6 name= age=0 idle=0 flags=U db=0 cmd=NULL user=default\n"
    )
    by = {
        sort: [item.id for item in client_list(rows, ClientsQuery(node_id=NODE, sort=sort, order=order), 0).clients]
        for sort, order in (("id", "asc"), ("age", "desc"), ("user", "asc"))
    }
    assert by == {"id": ["3", "20"], "age": ["3", "20"], "user": ["20", "3"]}
    only = client_list(rows, ClientsQuery(node_id=NODE, addr="10.0.0.1"), 0)
    assert (only.count, only.clients[0].qbuf_free, only.clients[0].peer) == (1, 3, "10.0.0.9:1")
    with pytest.raises(Unreadable):
        _parse("id=x flags=N")


@pytest.mark.parametrize("field", [*NUMBERS, "name", "laddr"])
def test_clients_are_sorted_by_numbers_also_by_zero(field: str) -> None:
    values, expected = (("10", "0", "5"), ["1", "2", "0"]) if field in NUMBERS else (("b", "a", "c"), ["1", "0", "2"])
    rows = [{"id": str(number), field: value} for number, value in enumerate(values)]
    sort: Any = {"qbuf-free": "qbuf_free", "laddr": "peer"}.get(field, field)
    query = ClientsQuery(node_id=NODE, sort=sort)
    assert [item.id for item in client_list(rows, query, 0).clients] == expected
    backwards = msgspec.structs.replace(query, order="desc")
    assert [item.id for item in client_list(rows, backwards, 0).clients] == expected[::-1]


def test_only_the_clients_of_a_page_are_converted() -> None:
    rows = [{"id": "1", "age": "0"}, {"id": "2", "age": "unreadable"}]
    page = client_list(rows, ClientsQuery(node_id=NODE, limit=1), 0)
    assert ([item.id for item in page.clients], page.count) == (["1"], 2)


def test_the_audit_log_has_every_address_whose_connection_is_closed(tenant: Tenant) -> None:
    path = f"instances/{tenant.instance()}/clients/kill"
    addresses = [f"10.0.0.1:{port}" for port in range(100)]
    assert tenant.call("POST", path, {"node_id": NODE, "client_addrs": addresses}).refusal == (400, "DCS.4062")
    kill = {"node_id": NODE, "client_addrs": addresses[:-1]}
    assert tenant.call("POST", path, kill).refusal == (400, "DCS.3053")
    recorded = [entry["subjects"] for entry in tenant.call("GET", "audit").json["entries"]]
    assert [NODE, *addresses[:-1]] in recorded
