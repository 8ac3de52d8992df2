"""Moves of a single instance between hosts, in each phase of which the server or an agent is killed under writes.

Without `CHAOS_MINUTES` only the phase between the exchange of the roles and the record is met.
"""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psutil
import psycopg
import pytest
from huaweicloudsdkcore.exceptions.exceptions import SdkException
from valkey import Valkey

from agents import AgentProcess, Hosts, hosts_on
from caches import operator_of
from following_writer import FollowingWriter, at_address
from host_checks import GET_OVER_SECONDS
from postgres_server import PostgresServer
from sdk_calls import PASSWORD, created, ended, newest_task, show
from serving import Server, freeze, thaw, until

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(0)]

KEYS = 2_000
HOLD = 7_301
"""Key of the advisory lock for which the record of a move waits."""
TRIGGER = f"""
CREATE FUNCTION wait_for_the_test() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN PERFORM pg_advisory_xact_lock_shared({HOLD}); RETURN NEW; END $$;
CREATE TRIGGER record_of_a_move BEFORE UPDATE ON nodes FOR EACH ROW
WHEN (OLD.apart AND NOT NEW.apart) EXECUTE FUNCTION wait_for_the_test();
"""
_EVERY = "CHAOS_MINUTES" in os.environ


@pytest.fixture(scope="module")
def hosts(postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    folder = tmp_path_factory.mktemp("hosts")
    with hosts_on(postgres, folder, ("local", "local"), "--client-grace-seconds", "300") as made:
        with psycopg.connect(made.url) as connection:
            connection.execute(TRIGGER.encode())
        yield made


@pytest.fixture(scope="module")
def single(hosts: Hosts) -> str:
    """A single instance with keys, on another host than the server's."""
    client = hosts.server.client()
    hosts.run("hosts", "cordon", "local")
    instance_id = created(client, 1, spec_code="redis.single.xu1.tiny.128", capacity=0.125)
    with connected(client, instance_id) as node:
        node.mset({f"key:{number}": "x" * 1000 for number in range(KEYS)})
    return instance_id


class Move:
    """A move of the only node of an instance from one agent to another."""

    def __init__(self, hosts: Hosts, instance_id: str, source: AgentProcess, target: AgentProcess) -> None:
        self.hosts = hosts
        self.source = source
        self.target = target
        self.instance_id = instance_id
        self.port = int(show(hosts.server.client(), instance_id).port)

    def is_withdrawn(self) -> bool:
        """Whether the record says that the node which leaves should not run: the handover begins."""
        query = "SELECT 1 FROM nodes WHERE instance_id = %s AND host_name = %s AND NOT apart AND NOT should_run"
        return self._finds(query, self.source.name)

    def is_recorded(self) -> bool:
        """Whether the new node is the node of the instance."""
        query = "SELECT 1 FROM nodes WHERE instance_id = %s AND host_name = %s AND NOT apart"
        return self._finds(query, self.target.name)

    def _finds(self, query: str, host: str) -> bool:
        with psycopg.connect(self.hosts.url) as connection:
            return connection.execute(query.encode(), (self.instance_id, host)).fetchone() is not None

    def replication(self, agent: AgentProcess) -> dict[str, Any]:
        """INFO replication of the node on one of both hosts."""
        with operator_of(agent, agent.address, self.port) as node:
            return dict(node.info("replication"))

    def new_node(self) -> psutil.Process:
        (process,) = until(self.target.nodes, "the new node starts")
        return process

    @contextmanager
    def record_held(self) -> Iterator[None]:
        """No server commits the record of a move in the `with` block. One that tries keeps its write lock."""
        with psycopg.connect(self.hosts.url) as connection:
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (HOLD,))
            yield
            connection.rollback()


def in_the_copy(move: Move, kill: Callable[[], None]) -> None:
    """The new node is frozen, so its copy does not end."""
    process = move.new_node()
    freeze(process)
    kill()
    thaw(process)


def at_the_begin_of_the_handover(move: Move, kill: Callable[[], None]) -> None:
    until(move.is_withdrawn, "the handover begins")
    kill()


def while_writes_wait(move: Move, kill: Callable[[], None]) -> None:
    """The new node is frozen, so the present one makes writes wait for it until it gives up, after five seconds."""
    until(move.is_withdrawn, "the handover begins")
    process = move.new_node()
    freeze(process)
    try:
        with suppress(AssertionError):  # it was faster
            until(lambda: move.replication(move.source)["master_failover_state"] != "no-failover", "it hands over", 3)
        kill()
    finally:
        thaw(process)


def before_the_record(move: Move, kill: Callable[[], None]) -> None:
    """Both nodes have exchanged their roles, and the record waits for the test."""
    with move.record_held():  # before the handover begins: it may end before a look at it does
        until(move.is_withdrawn, "the handover begins")
        until(lambda: move.replication(move.target)["role"] == "master", "the new node takes over", 5)
        assert not move.is_recorded()
        assert move.replication(move.source)["role"] == "slave"
        kill()


def before_the_removal(move: Move, kill: Callable[[], None]) -> None:
    """A subscription keeps the former node until its grace ends."""
    with Valkey(host=move.source.address, port=move.port, password=PASSWORD).pubsub() as subscriber:
        subscriber.subscribe("news")
        until(move.is_recorded, "the new node has its place")
        kill()


PHASES = [in_the_copy, at_the_begin_of_the_handover, while_writes_wait, before_the_record, before_the_removal]


def killed_and_started(process: Server) -> Callable[[], None]:
    def kill() -> None:
        process.kill()
        threading.Thread(target=process.start).start()

    return kill


@pytest.mark.parametrize("phase", PHASES if _EVERY else [before_the_record], ids=lambda phase: phase.__name__)
def test_no_write_is_lost_when_a_process_is_killed_in_the_move_of_a_single_instance(
    hosts: Hosts, single: str, phase: Callable[[Move, Callable[[], None]], None]
) -> None:
    client = hosts.server.client()
    ((source,),) = hosts.places(single).values()
    target = {"h2": "h3", "h3": "h2"}[source]
    with FollowingWriter(lambda: connected(client, single)) as writer:
        for victim in ("server", "source", "target"):
            writer.wait_for(100)
            began = time.monotonic()
            move = Move(hosts, single, hosts.agents[source], hosts.agents[target])
            task = struck(move, victim, phase)
            print(f"{phase.__name__}, {victim} killed: {task.status} after {time.monotonic() - began:.1f} s")
            hosts.run("hosts", "uncordon", source)
            require_usable(hosts, single, writer, task)
            if hosts.places(single) == {0: [target]}:
                source, target = target, source
    assert len(writer.acknowledged) > 300


def struck(move: Move, victim: str, phase: Callable[[Move, Callable[[], None]], None]) -> Any:
    """Drain the host of an instance, kill a process in this phase, and return the task of the move, which has ended."""
    hosts, instance_id = move.hosts, move.instance_id
    before = newest_task(hosts.server.client(), instance_id).id
    drain = threading.Thread(target=hosts.run, args=("hosts", "drain", move.source.name))
    drain.start()
    phase(move, killed_and_started({"server": hosts.server, "source": move.source, "target": move.target}[victim]))
    drain.join()
    task_id = until(lambda: moved_by(hosts, instance_id, before), "the server runs again", GET_OVER_SECONDS)
    return ended(hosts.server.client(), instance_id, task_id, GET_OVER_SECONDS)


def connected(client: Any, instance_id: str) -> Valkey:
    shown = show(client, instance_id)
    return at_address(shown.ip, shown.port)


def moved_by(hosts: Hosts, instance_id: str, before: str) -> str | None:
    """The id of the task that moves the node; None while no server answers."""
    with suppress(SdkException, OSError):
        task = newest_task(hosts.server.client(), instance_id)
        return str(task.id) if task.id != before else None
    return None


def require_usable(hosts: Hosts, instance_id: str, writer: FollowingWriter, task: Any) -> None:
    """The instance has one node, with every acknowledged write, and a task that failed says why."""
    client = hosts.server.client()
    if task.status != "SUCCESS":
        status, body = hosts.server.call("GET", f"tasks/{task.id}")
        assert status == 200
        assert body["error_code"].startswith("DCS."), body
    writer.wait_for(100)
    until(lambda: show(client, instance_id).status == "RUNNING", "the instance is RUNNING", GET_OVER_SECONDS)
    until(lambda: [len(agent.nodes()) for agent in hosts.agents.values()] in ([0, 1], [1, 0]), "one node is left")
    with connected(client, instance_id) as node:
        assert node.exists(*(f"key:{number}" for number in range(KEYS))) == KEYS
        assert writer.lost(node) == []
