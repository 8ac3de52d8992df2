"""Different nodes of an instance are an incident, which ends when they are equal."""

import sqlite3
from contextlib import closing
from typing import Any

from caches import cache, operator_of
from sdk_calls import created, ended, resize, show
from serving import Server, until

LIBRARY = "#!lua name=stray\nserver.register_function('stray', function() return 1 end)"


def incidents(server: Server) -> list[dict[str, Any]]:
    with closing(sqlite3.connect(server.data_dir / "cachewright.db")) as database:
        database.row_factory = sqlite3.Row
        rows = database.execute("SELECT * FROM incidents WHERE kind = 'unequal_nodes'")
        return [dict(row) for row in rows]


def test_nodes_with_different_functions_are_an_incident_until_they_are_equal(own_server: Server) -> None:
    client = own_server.client()
    instance_id = created(client, 2)
    node = cache(client, instance_id).get_primaries()[0]
    with operator_of(own_server, node.host, node.port) as one:
        one.function_load(LIBRARY)
        own_server.kill()
        own_server.start()  # it compares at its start, and a minute later otherwise
        client = own_server.client()
        (found,) = until(lambda: incidents(own_server), "no incident")
        assert (found["error_code"], found["ended_at"]) == ("DCS.9013", None)
        assert "does not have function library stray" in found["detail"]
        assert show(client, instance_id).status == "RUNNING"
        listed = own_server.call("GET", "audit")[1]["entries"]
        assert [entry["credential"] for entry in listed if entry["action"] == "cachewright:incident:begin"] == [
            "unequal_nodes"
        ]
        one.function_delete("stray")
    until(lambda: incidents(own_server)[0]["ended_at"], "the incident does not end")
    assert ended(client, instance_id, resize(client, instance_id, 3)).status == "SUCCESS"
