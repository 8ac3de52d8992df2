"""A client writes lines of its own into the log of its node, by `server.log` in a script."""

import sqlite3
from contextlib import closing
from datetime import datetime, timedelta
from typing import Any

from valkey import Valkey

from caches import cache, load, present
from sdk_calls import PASSWORD, created, ended, resize, show
from serving import Server, until

KEYS = 500
NAMED = f"{{name: {'a' * 40}, operation: export, target_node_id: {'b' * 40}, slots: 0-9}}"
RISK = f"# Write loss risk! During slot migration {NAMED}, new owner did not broadcast ownership"


def forge(client: Any, instance_id: str, date: str) -> None:
    """Write a line with this date on every node of the instance."""
    script = "server.log(server.LOG_WARNING, 'x\\n1:M ' .. ARGV[1] .. ' ' .. ARGV[2])"
    for node in cache(client, instance_id).get_nodes():
        with Valkey(host=node.host, port=node.port, password=PASSWORD) as attacker:
            attacker.eval(script, 0, date, RISK)


def incidents(server: Server) -> list[Any]:
    with closing(sqlite3.connect(server.data_dir / "cachewright.db")) as database:
        return database.execute("SELECT * FROM incidents WHERE kind = 'write_loss_risk'").fetchall()


def test_forged_warnings_are_no_incidents_and_stop_neither_the_watch_nor_a_resize(own_server: Server) -> None:
    client = own_server.client()
    instance_id = created(client, 2)
    load(cache(client, instance_id), KEYS)
    in_a_minute = datetime.now().astimezone() + timedelta(minutes=1)
    forge(client, instance_id, "99 Xyz 2026 10:00:00.000")
    forge(client, instance_id, "31 Dec 9999 10:00:00.000")
    forge(client, instance_id, in_a_minute.strftime("%d %b %Y %H:%M:%S.000"))
    forge(client, instance_id, datetime.now().astimezone().strftime("%d %b %Y %H:%M:%S.%f")[:-3])
    until(lambda: "do not confirm 1 log lines" in own_server.log(), "the watch has not read the lines")
    assert ended(client, instance_id, resize(client, instance_id, 3)).status == "SUCCESS"
    assert present(cache(client, instance_id), KEYS) == KEYS
    assert incidents(own_server) == []
    assert show(client, instance_id).status == "RUNNING"
    assert "Traceback" not in own_server.log()
