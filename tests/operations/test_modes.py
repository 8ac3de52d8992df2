"""Interruptions of a scale in the mode `gentle`, while slots are open."""

from typing import Any

import pytest
from valkey.cluster import ValkeyCluster

from caches import cache, load, operator_of, present, serves
from cachewright.valkey.migration.node_settings import SETTINGS_OUTSIDE_MOVES
from sdk_calls import created, ended, moves_of_ranges, newest_task, progress, show, spec
from serving import Server, until
from traffic import Traffic

KEYS = 60_000


class Scaling:
    """An instance with traffic that is scaled from three shards to two."""

    def __init__(self, server: Server) -> None:
        self.server = server
        client = server.client()
        self.instance_id = created(client, 3)
        load(cache(client, self.instance_id), KEYS, 100)
        self.traffic = Traffic(1, show(client, self.instance_id).port)
        self.traffic.start()
        until(lambda: self.traffic.writes > 50, "nothing is written")
        body = {"spec_code": spec(2), "new_capacity": 2, "migration_mode": "gentle"}
        assert server.call("POST", f"instances/{self.instance_id}/resize", body)[0] == 204
        self.task_id = newest_task(client, self.instance_id).id

    @property
    def caches(self) -> ValkeyCluster:
        return cache(self.server.client(), self.instance_id)

    def ports(self) -> list[int]:
        """Ports of all primaries."""
        rows = self.caches.cluster_nodes().items()
        return [int(address.rpartition(":")[2]) for address, row in rows if "master" in row["flags"]]

    def asked(self, *words: str) -> list[Any]:
        """Replies of all primaries to the control plane."""
        replies = []
        for port in self.ports():
            with operator_of(self.server, "127.0.0.1", port) as node:
                replies.append(node.execute_command(*words))
        return replies

    def opened(self) -> list[tuple[str, str]]:
        """Ids of source and target of open slots."""
        found = []
        for lines in self.asked("CLUSTER", "NODES"):
            mine = next(line.split() for line in lines.decode().split("\n") if "myself" in line)
            found += [(mine[0], word.strip("[]").split("->-")[1]) for word in mine if "->-" in word]
        return found

    def kill(self, node_id: str) -> None:
        next(node for node in self.server.nodes() if any(node_id in word for word in node.info["cmdline"])).kill()

    def require_whole(self) -> None:
        """No slot is open, no key is missing, and the nodes have their usual settings."""
        until(lambda: serves(self.server.client(), self.instance_id), "the cluster is not whole")
        assert self.opened() == []
        assert present(self.caches, KEYS) == KEYS
        for settings in self.asked("CONFIG", "GET", *SETTINGS_OUTSIDE_MOVES):
            words = [word.decode() for word in settings]
            assert dict(zip(words[::2], words[1::2], strict=True)) == SETTINGS_OUTSIDE_MOVES


@pytest.fixture
def scaling(own_server: Server) -> Scaling:
    return Scaling(own_server)


def moving(scaling: Scaling) -> tuple[str, str]:
    found: list[tuple[str, str]] = until(scaling.opened, "no slot is open")
    return found[0]


def test_a_gentle_scale_survives_a_killed_server(scaling: Scaling) -> None:
    moving(scaling)
    scaling.server.kill()
    scaling.server.start()
    assert ended(scaling.server.client(), scaling.instance_id, scaling.task_id).status == "SUCCESS"
    scaling.traffic.finish(scaling.caches)
    assert (scaling.traffic.losses, scaling.traffic.errors) == ([], 0)
    scaling.require_whole()


@pytest.mark.parametrize("place", [0, 1])
def test_a_gentle_scale_survives_a_killed_node(scaling: Scaling, place: int) -> None:
    """`place` 0 is the source, 1 the target."""
    scaling.kill(moving(scaling)[place])
    assert ended(scaling.server.client(), scaling.instance_id, scaling.task_id).status == "SUCCESS"
    scaling.traffic.finish(scaling.caches)
    assert scaling.traffic.losses == []
    scaling.require_whole()


def test_a_cancelled_gentle_scale_leaves_no_slot_open(scaling: Scaling) -> None:
    moving(scaling)
    path = f"instances/{scaling.instance_id}/tasks/{scaling.task_id}"
    assert scaling.server.call("POST", f"{path}/cancel")[0] == 200
    client = scaling.server.client()
    assert ended(client, scaling.instance_id, scaling.task_id).status == "FAILED"
    assert scaling.server.call("GET", path)[1]["task"]["error_code"] == "DCS.9005"
    assert show(client, scaling.instance_id).status == "RUNNING"
    scaling.traffic.finish(scaling.caches)
    assert (scaling.traffic.losses, scaling.traffic.errors) == ([], 0)
    scaling.require_whole()


def test_a_gentle_scale_changes_to_balanced_in_the_middle(scaling: Scaling) -> None:
    moving(scaling)
    path = f"instances/{scaling.instance_id}/tasks/{scaling.task_id}/control"
    assert scaling.server.call("PUT", path, {"mode": "balanced"})[0] == 200
    assert ended(scaling.server.client(), scaling.instance_id, scaling.task_id).status == "SUCCESS"
    scaling.traffic.finish(scaling.caches)
    assert (scaling.traffic.losses, scaling.traffic.errors) == ([], 0)
    scaling.require_whole()


def test_no_node_rewrites_its_file_while_slots_move(scaling: Scaling) -> None:
    """The first target has received its range, and the second one has not."""
    client = scaling.server.client()

    def statuses() -> list[str]:
        moves = moves_of_ranges(progress(client, scaling.instance_id, scaling.task_id))
        return [move.sub_step_status for move in moves]

    until(lambda: statuses()[:1] == ["FINISH"], "the first range has not moved")
    percentages = scaling.asked("CONFIG", "GET", "auto-aof-rewrite-percentage")
    assert statuses() == ["FINISH", "EXECUTING"], "the last range moved too fast for this test"
    assert [value for _, value in percentages] == [b"0"] * 3
    assert ended(client, scaling.instance_id, scaling.task_id).status == "SUCCESS"
    scaling.traffic.finish(scaling.caches)
    scaling.require_whole()


def test_settings_of_a_move_do_not_outlast_a_killed_server(own_server: Server) -> None:
    """No task continues that would reset them."""
    client = own_server.client()
    instance_id = created(client, 1)
    port = show(client, instance_id).port
    own_server.kill()
    with operator_of(own_server, "127.0.0.1", port, decode_responses=True) as node:
        node.config_set("hz", 500, "auto-aof-rewrite-percentage", 0)
        own_server.start()
        until(
            lambda: node.config_get(*SETTINGS_OUTSIDE_MOVES) == SETTINGS_OUTSIDE_MOVES,
            "the node keeps settings of a move",
        )
